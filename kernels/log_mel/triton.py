"""LogMel fused into one kernel in the Triton language.

A program takes ``FRAMES`` frames of one row from waveform to normalised dB, by the transform of
tables.py; nothing but its output goes to the GPU's memory. Products are of float32 accuracy
on tensor cores: three of operands split in two TF32. On sm_80 to sm_120 a program takes at most 241
registers a thread, none spilled, and 24 KiB of shared memory.
"""

import math
from functools import cache

import torch
import triton
import triton.language as tl
from torch import Tensor

from ..launch import DTYPES, launch
from ..variant import Variant
from . import contract as mel
from . import tables as layout
from .checks import frames_of

FRAMES = 2  # of a program

MELS = tl.constexpr(mel.MELS)
HOP_SAMPLES = tl.constexpr(mel.HOP_SAMPLES)
PAD_SAMPLES = tl.constexpr(mel.PAD_SAMPLES)
FLOOR = tl.constexpr(mel.FLOOR)
POINTS = tl.constexpr(layout.POINTS)
HALF_SAMPLES = tl.constexpr(layout.HALF_SAMPLES)
HALF_BINS = tl.constexpr(layout.HALF_BINS)
TAPS = tl.constexpr(layout.TAPS)
WINDOW = tl.constexpr(layout.WINDOW)
FOURIER = tl.constexpr(layout.FOURIER)
TWIDDLES = tl.constexpr(layout.TWIDDLES)
ROTATIONS = tl.constexpr(layout.ROTATIONS)
PLACES = tl.constexpr(layout.PLACES)
WEIGHTS = tl.constexpr(layout.WEIGHTS)
DECIBELS_PER_OCTAVE = tl.constexpr(10 * math.log10(2))  # of power


@triton.jit
def log_mel_kernel(
    waveform: tl.tensor,
    tables: tl.tensor,
    samples: tl.tensor,
    row_stride: tl.tensor,
    frames: tl.tensor,
    log_mel: tl.tensor,
    MEAN_DB: tl.constexpr,
    STD_DB: tl.constexpr,
    FRAMES: tl.constexpr,
) -> None:
    """Rows ``row_stride`` samples apart to (batch, MELS, frames), contiguous.

    Its grid is (cdiv(frames, FRAMES), batch).
    """
    row = tl.program_id(1).to(tl.int64)
    frame = tl.program_id(0) * FRAMES + tl.arange(0, FRAMES)
    # In place of a frame after the last, the last is computed again and not stored.
    start = tl.minimum(frame, frames - 1) * HOP_SAMPLES - PAD_SAMPLES
    power = _power(waveform + row * row_stride, tables, samples, start, FRAMES)
    mel_power = _bands(power, tables, FRAMES)
    floored = tl.maximum(mel_power, FLOOR, propagate_nan=tl.PropagateNan.ALL)
    normalised = (DECIBELS_PER_OCTAVE * tl.log2(floored) - MEAN_DB) * (1 / STD_DB)
    band = tl.arange(0, MELS)
    place = log_mel + row * MELS * frames + band[None, :] * frames + frame[:, None]
    tl.store(place, normalised.to(log_mel.dtype.element_ty), (frame < frames)[:, None])


@triton.jit
def _power(
    waveform: tl.tensor,
    tables: tl.tensor,
    samples: tl.tensor,
    start: tl.tensor,
    FRAMES: tl.constexpr,
) -> tl.tensor:
    """Frames from sample ``start`` (FRAMES,) on, to (FRAMES * 1024,) in ``place_of_bin``'s order.

    The two halves take turns in a loop: written out in sequence, they would need more
    registers than there are. In a ``for`` loop Triton would keep the constants of every round in
    shared memory, and accumulators in all of sm_100's tensor memory, so that a second program had
    no place beside the first.
    """
    n = tl.arange(0, HALF_SAMPLES)
    k = tl.arange(0, HALF_BINS)
    alternating = (1 - 2 * (n % 2)).to(tl.float32)
    last = samples - 1
    middle = tl.zeros((FRAMES, 1), tl.float32)
    odd_real = tl.zeros((FRAMES, HALF_BINS), tl.float32)
    odd_imaginary = odd_real
    even_real = odd_real
    even_imaginary = odd_real
    half = 0
    while half < 2:
        # In the end these are the even samples' and the others the odd ones'.
        even_real = odd_real
        even_imaginary = odd_imaginary
        sample = start[:, None] + (2 * n + half)[None, :]
        reflected = last - tl.abs(last - tl.abs(sample))
        window = tl.load(tables + WINDOW + half * HALF_SAMPLES + n)
        x = tl.load(waveform + reflected) * window[None, :]
        middle_root = tl.sum(x * alternating[None, :], axis=1, keep_dims=True)
        middle += middle_root * middle_root
        real, imaginary = _half_spectrum(x, tables, FRAMES)
        rotation = tables + ROTATIONS + 2 * HALF_BINS * half + k[None, :]
        cosine = tl.load(rotation)
        sine = tl.load(rotation + HALF_BINS)
        odd_real = real * cosine - imaginary * sine
        odd_imaginary = real * sine + imaginary * cosine
        half += 1
    sum_real = even_real + odd_real
    sum_imaginary = even_imaginary + odd_imaginary
    difference_real = even_real - odd_real
    difference_imaginary = even_imaginary - odd_imaginary
    low = sum_real * sum_real + sum_imaginary * sum_imaginary
    high = difference_real * difference_real + difference_imaginary * difference_imaginary
    high = tl.where(k[None, :] == 0, middle, high)
    return tl.reshape(tl.join(low, high), (FRAMES * 2 * HALF_BINS,))


@triton.jit
def _half_spectrum(
    x: tl.tensor, tables: tl.tensor, FRAMES: tl.constexpr
) -> tuple[tl.tensor, tl.tensor]:
    """DFTs of (FRAMES, 1024) real: the first 512 bins, real and imaginary, in order (c, d)."""
    b = tl.arange(0, POINTS)[:, None]
    square = b * POINTS + tl.arange(0, POINTS)[None, :]
    cosine = tl.load(tables + FOURIER + square)
    sine = tl.load(tables + FOURIER + POINTS * POINTS + square)
    x = tl.permute(tl.reshape(x, (FRAMES, POINTS, POINTS)), (0, 2, 1))  # frame, b, a
    x = tl.reshape(x, (FRAMES * POINTS, POINTS))
    real = tl.reshape(_product(x, cosine), (FRAMES, POINTS, POINTS))  # frame, b, c
    imaginary = tl.reshape(_product(x, sine), (FRAMES, POINTS, POINTS))
    twiddle_real = tl.load(tables + TWIDDLES + square)[None, :, :]
    twiddle_imaginary = tl.load(tables + TWIDDLES + POINTS * POINTS + square)[None, :, :]
    left_half = b * POINTS + tl.arange(0, POINTS // 2)[None, :]
    cosine = tl.load(tables + FOURIER + left_half)
    sine = tl.load(tables + FOURIER + POINTS * POINTS + left_half)
    # One part after the other: both at once would need twice the shared memory.
    twiddled = _transposed(real * twiddle_real - imaginary * twiddle_imaginary)  # frame * c, b
    spectrum_real = _product(twiddled, cosine)
    spectrum_imaginary = _product(twiddled, sine)
    twiddled = _transposed(real * twiddle_imaginary + imaginary * twiddle_real)
    spectrum_real -= _product(twiddled, sine)
    spectrum_imaginary += _product(twiddled, cosine)
    shape: tl.constexpr = (FRAMES, HALF_BINS)
    return tl.reshape(spectrum_real, shape), tl.reshape(spectrum_imaginary, shape)


@triton.jit
def _product(x: tl.tensor, matrix: tl.tensor) -> tl.tensor:
    return tl.dot(x, matrix, input_precision="tf32x3")


@triton.jit
def _transposed(x: tl.tensor) -> tl.tensor:
    """(frames, rows, columns) to (frames * columns, rows)."""
    y = tl.permute(x, (0, 2, 1))
    return tl.reshape(y, (y.shape[0] * y.shape[1], y.shape[2]))


@triton.jit
def _bands(power: tl.tensor, tables: tl.tensor, FRAMES: tl.constexpr) -> tl.tensor:
    """(FRAMES * 1024,) in ``place_of_bin``'s order to the mel bands' power, (FRAMES, MELS)."""
    band = tl.arange(0, MELS)
    frame = tl.arange(0, FRAMES)[None, :, None]
    tap = tables + tl.arange(0, TAPS)[:, None, None] * MELS + band[None, None, :]
    places = tl.load(tap + PLACES).to(tl.int32) + frame * (2 * HALF_BINS)
    # Gathered in one dimension: in more, every thread would fetch from all others in turn.
    heard = tl.gather(power, tl.reshape(places, (TAPS * FRAMES * MELS,)), 0)
    heard = tl.reshape(heard, (TAPS, FRAMES, MELS))
    lower = tl.sum(heard * tl.load(tap + WEIGHTS), axis=0)
    upper = tl.sum(heard * tl.load(tap + WEIGHTS + TAPS * MELS), axis=0)
    # A band gets the upper share of the taps of the one below it.
    one_below = tl.maximum(tl.arange(0, FRAMES * MELS) - 1, 0)
    shifted = tl.gather(tl.reshape(upper, (FRAMES * MELS,)), one_below, 0)
    return lower + tl.where(band[None, :] == 0, 0.0, tl.reshape(shifted, (FRAMES, MELS)))


def variant(dtype: str, mean_db: float, std_db: float) -> Variant:
    """``log_mel_kernel`` for an output dtype, "fp32", "fp16" or "bf16", and a normalisation."""
    signature = {"waveform": "*fp32", "tables": "*fp32"}
    signature |= {"samples": "i32", "row_stride": "i32", "frames": "i32", "log_mel": f"*{dtype}"}
    return Variant(
        f"log_mel_{dtype}",
        log_mel_kernel,
        signature,
        {"MEAN_DB": mean_db, "STD_DB": std_db, "FRAMES": FRAMES},
        aligned=frozenset({"tables"}),
        num_warps=4,
        num_stages=1,  # the loop is of two rounds: nothing to load ahead
    )


def log_mel(
    waveform: Tensor, mean_db: float, std_db: float, dtype: torch.dtype = torch.float32
) -> Tensor:
    """The normalised log-mel, by the kernel.

    Args:
        waveform: (batch, samples) float32, more than 1024 samples, with any strides.
        mean_db, std_db: what the dB are normalised by.
        dtype: of the output: float32, float16 or bfloat16.

    Returns:
        (batch, 128, samples // 240).

    Raises:
        SessionError: another rank or dtype, too few samples, or more than 65535 rows.
    """
    frames = frames_of(waveform, dtype)
    batch, samples = waveform.shape
    if waveform.stride(1) != 1:
        waveform = waveform.contiguous()
    output = torch.empty((batch, mel.MELS, frames), dtype=dtype, device=waveform.device)
    chosen = variant(DTYPES[dtype], mean_db, std_db)
    grid = (triton.cdiv(frames, FRAMES), batch)
    constants = _tables(waveform.device)
    launch(chosen, grid, waveform, constants, samples, waveform.stride(0), frames, output)
    return output


@cache
def _tables(device: torch.device) -> Tensor:
    return torch.from_numpy(layout.tables()).to(device)
