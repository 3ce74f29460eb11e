"""Audio files and arrays as mono float32 at the model's sample rate."""

from collections.abc import Iterable, Iterator
from os import PathLike
from pathlib import Path

import numpy as np
import soxr

from ...errors import AudioError
from ...kernels.log_mel.contract import SAMPLE_RATE_HZ
from .decode import DecodedAudio, DecodingError, open_audio, to_float
from .down_mix import DownMix
from .resampler import QUALITY, Resampler

_LOWEST_RATE_HZ, _HIGHEST_RATE_HZ = 1_000, 768_000
_MOST_CHANNELS = 64
_LOUDEST = 1e3  # full scale is 1; a float file may exceed it, but not by 60 dB
_LONGEST_HOURS = 24
# A decoder may drop the padding its encoder added, which the header's length may include.
_PADDING_SECONDS = 0.25
_DTYPES = ("float32", "float64", "int16", "int32")


def stream(path: str | PathLike[str], rate_hz: int = SAMPLE_RATE_HZ) -> Iterator[np.ndarray]:
    """Decode a file block by block, in memory that does not depend on its length.

    All channels are averaged with equal weight: stereo, 5.1 (its low-frequency channel included)
    or any other layout; where they cancel each other, the louder one is taken. The blocks joined
    are the samples that resampling the whole file at once would give, ``round(samples * rate_hz /
    the file's rate)`` of them.

    A file that was cut short is recognised where its header tells its length (wav, flac, aiff,
    m4a, mp3 with a Xing header) or where it stops decoding; a cut ogg, opus or plain mp3 file is
    indistinguishable from a shorter one. The error comes after the readable blocks.

    Yields:
        float32 (samples,) at ``rate_hz``; a block may be empty.

    Raises:
        AudioError: missing, not audio, cut short, without samples, not finite, longer than 24
            hours, or of an implausible rate or channel count.
        MissingDependencyError: the file needs FFmpeg and PyAV is not installed.
    """
    path = Path(path)
    with open_audio(path) as audio:
        check_rate(audio.rate_hz, str(path))
        yield from _resampled(_mono_blocks(audio, str(path)), audio.rate_hz, rate_hz)


def load(path: str | PathLike[str], rate_hz: int = SAMPLE_RATE_HZ) -> np.ndarray:
    """The whole file at once: float32 (samples,) at ``rate_hz``. Raises what ``stream`` raises."""
    return np.concatenate(list(stream(path, rate_hz)))


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
    _check_length(len(mono), rate_hz, name)
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


def _mono_blocks(audio: DecodedAudio, name: str) -> Iterator[np.ndarray]:
    read, mix = 0, DownMix()
    if audio.promised_samples is not None:
        _check_length(audio.promised_samples, audio.rate_hz, name)
    try:
        for block in audio.blocks:
            yield _down_mix(mix, block, name, read / audio.rate_hz)
            read += len(block)
            _check_length(read, audio.rate_hz, name)
    except DecodingError as reason:
        raise _cut_short(name, f"decoding stopped ({reason})", read / audio.rate_hz) from None
    if read == 0:
        raise AudioError(f"{name}: has no samples; copy or record it again.")
    promised_seconds = (audio.promised_samples or 0) / audio.rate_hz
    if promised_seconds - read / audio.rate_hz > _PADDING_SECONDS:
        promise = f"its header promises {promised_seconds:.1f} s"
        raise _cut_short(name, promise, read / audio.rate_hz)


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


def _resampled(
    blocks: Iterable[np.ndarray], rate_hz: int, target_rate_hz: int
) -> Iterator[np.ndarray]:
    resampler = Resampler(rate_hz, target_rate_hz)
    for block in blocks:
        yield resampler.push(block)
    yield resampler.finish()


def check_rate(rate_hz: int, name: str) -> None:
    """Raise AudioError for an implausible sample rate."""
    if not _LOWEST_RATE_HZ <= rate_hz <= _HIGHEST_RATE_HZ:
        raise AudioError(
            f"{name}: a sample rate of {rate_hz} Hz; expected {_LOWEST_RATE_HZ} to "
            f"{_HIGHEST_RATE_HZ} Hz. Give its true rate, or convert it."
        )


def _check_length(samples: int, rate_hz: int, name: str) -> None:
    if samples > _LONGEST_HOURS * 3600 * rate_hz:
        raise AudioError(f"{name}: longer than {_LONGEST_HOURS} hours; cut it into parts.")


def _cut_short(name: str, reason: str, read_seconds: float) -> AudioError:
    return AudioError(
        f"{name}: cut short or damaged: {reason}, and only {read_seconds:.1f} s could be read. "
        "Copy or download it again."
    )
