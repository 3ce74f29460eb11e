"""Audio files and arrays as mono float32 at the model's sample rate."""

from collections.abc import Iterator
from numbers import Real
from os import PathLike
from pathlib import Path

import numpy as np
import soxr

from ...errors import AudioError, UsageError
from ...kernels.log_mel.contract import SAMPLE_RATE_HZ
from .damage import USUAL, Tolerance
from .decode import Decoding
from .down_mix import DownMix
from .readers.blocks import to_float
from .resampler import QUALITY, Resampler

_LOWEST_RATE_HZ, _HIGHEST_RATE_HZ = 1_000, 768_000
_MOST_CHANNELS = 64
_LOUDEST = 1e3  # full scale is 1; a float file may exceed it, but not by 60 dB
_LONGEST_HOURS = 24
_DTYPES = ("float32", "float64", "int16", "int32")


def stream(
    path: str | PathLike[str], rate_hz: int = SAMPLE_RATE_HZ, tolerance: Tolerance = USUAL
) -> Iterator[np.ndarray]:
    """Decode a file block by block, in memory that does not depend on its length.

    All channels are averaged with equal weight: stereo, 5.1 (its low-frequency channel included)
    or any other layout; where they cancel each other, the louder one is taken, and ``tolerance`` is
    told. The blocks joined
    are the samples that resampling the whole file at once would give, ``round(samples * rate_hz /
    the file's rate)`` of them. Where the rate changes in the middle, each stretch is resampled by
    itself.

    What cannot be decoded is left out and told, or refused, as ``tolerance`` says. A file that was
    cut short is recognised where its header counts its samples (wav, flac, aiff, m4a, mp3 with a
    Xing header) or where it stops inside a frame; a cut ogg or opus file is indistinguishable from
    a shorter one. The error comes after the readable blocks.

    Yields:
        float32 (samples,) at ``rate_hz``; a block may be empty.

    Raises:
        AudioError: missing, not audio, too damaged, without samples, not finite, longer than 24
            hours, or of an implausible rate or channel count.
        MissingDependencyError: the file needs FFmpeg and PyAV is not installed.
    """
    if not isinstance(path, (str, PathLike)):
        raise UsageError(f"an audio file's path is needed, not {path!r}.")
    check_rate(rate_hz, str(path))
    decoding, mix = Decoding(Path(path)), DownMix()
    name, own_rate_hz, resampler = str(path), 0, Resampler(rate_hz, rate_hz)
    one_channel_seconds = 0.0
    for block in decoding.blocks():
        _check_length(decoding.read_seconds, name)
        if tolerance.most_lost_share < 1:  # else a promise is not believed
            _check_length(decoding.promised_seconds, name)
        if block.rate_hz != own_rate_hz:
            check_rate(block.rate_hz, name)
            yield resampler.finish()
            own_rate_hz, resampler = block.rate_hz, Resampler(block.rate_hz, rate_hz)
        block_seconds = len(block.samples) / block.rate_hz
        before = mix.one_channel_samples
        mono = _down_mix(mix, block.samples, name, decoding.read_seconds - block_seconds)
        one_channel_seconds += (mix.one_channel_samples - before) / block.rate_hz
        yield resampler.push(mono)
    yield resampler.finish()
    damage = decoding.damage()
    if not own_rate_hz:
        if damage is not None:
            raise decoding.not_audio(damage.reason)
        raise AudioError(f"{name}: has no samples; copy or record it again.")
    if damage is not None:
        tolerance.judge(name, damage)
    if one_channel_seconds:
        tolerance.on_one_channel(name, one_channel_seconds)


def load(
    path: str | PathLike[str], rate_hz: int = SAMPLE_RATE_HZ, tolerance: Tolerance = USUAL
) -> np.ndarray:
    """The whole file at once: float32 (samples,) at ``rate_hz``. Raises what ``stream`` raises."""
    return np.concatenate(list(stream(path, rate_hz, tolerance)))


def from_array(
    waveform: np.ndarray,
    rate_hz: int,
    target_rate_hz: int = SAMPLE_RATE_HZ,
    name: str = "audio array",
) -> np.ndarray:
    """Mono float32 (samples,) at ``target_rate_hz`` from samples in memory.

    Args:
        waveform: (samples,) or (channels, samples), float32 or float64 in [-1, 1], or int16 or
            int32, which are scaled to [-1, 1). Channels are averaged as in ``stream``.
        rate_hz: the rate of ``waveform``.
        name: what errors call it.

    Raises:
        AudioError: a wrong dtype or shape, no samples, not finite, an implausible rate.
    """
    check_rate(rate_hz, name)
    mono = mono_from_array(waveform, name)
    _check_length(len(mono) / rate_hz, name)
    if rate_hz == target_rate_hz:
        return mono
    resampled: np.ndarray = soxr.resample(mono, rate_hz, target_rate_hz, quality=QUALITY)
    return resampled


def mono_from_array(
    waveform: np.ndarray, name: str = "audio array", mix: DownMix | None = None
) -> np.ndarray:
    """Mono float32 (samples,) from samples in memory; arguments and errors are ``from_array``'s.

    ``mix`` is a stream's, whose chunks come one by one.
    """
    if waveform.dtype.name not in _DTYPES:
        raise AudioError(f"{name}: dtype {waveform.dtype}; convert it to {' or '.join(_DTYPES)}.")
    if waveform.ndim not in (1, 2):
        raise AudioError(f"{name}: shape {waveform.shape}; pass (samples,) or (channels, samples).")
    if waveform.size == 0:
        raise AudioError(f"{name}: has no samples.")
    channels = np.atleast_2d(waveform)
    if len(channels) > channels.shape[1]:
        raise AudioError(
            f"{name}: shape {waveform.shape} looks like (samples, channels); expected (channels, "
            "samples), so pass its transpose, waveform.T."
        )
    return _down_mix(mix or DownMix(), to_float(channels).T, name, 0.0)


def _down_mix(mix: DownMix, samples: np.ndarray, name: str, start_seconds: float) -> np.ndarray:
    """Float32 (samples, channels) to a checked (samples,)."""
    if samples.shape[1] > _MOST_CHANNELS:
        raise AudioError(
            f"{name}: {samples.shape[1]} channels; at most {_MOST_CHANNELS} are accepted. "
            "Mix it down first."
        )
    mono = mix.push(samples)
    if not np.isfinite(mono).all():
        raise AudioError(
            f"{name}: NaN or infinite samples soon after {start_seconds:.1f} s; repair it or "
            "export it again."
        )
    if len(mono) and np.abs(mono).max() > _LOUDEST:
        raise AudioError(
            f"{name}: samples of {np.abs(mono).max():.3g} soon after {start_seconds:.1f} s; full "
            "scale is 1. Scale it down (16-bit samples stored as floats: by 32768)."
        )
    return mono


def check_rate(rate_hz: int, name: str) -> None:
    """Raise UsageError for a sample rate that is no number, AudioError for an implausible one."""
    if not isinstance(rate_hz, Real) or isinstance(rate_hz, bool):
        raise UsageError(
            f"{name}: rate_hz={rate_hz!r}; the sample rate is a number, such as 44100."
        )
    if not _LOWEST_RATE_HZ <= rate_hz <= _HIGHEST_RATE_HZ:
        raise AudioError(
            f"{name}: a sample rate of {rate_hz} Hz; expected {_LOWEST_RATE_HZ} to "
            f"{_HIGHEST_RATE_HZ} Hz. Give its true rate, or convert it."
        )


def _check_length(seconds: float, name: str) -> None:
    if seconds > _LONGEST_HOURS * 3600:
        raise AudioError(f"{name}: longer than {_LONGEST_HOURS} hours; cut it into parts.")
