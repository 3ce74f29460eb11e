"""Encoded audio that comes bit by bit: what FFmpeg makes of it while it comes."""

from collections.abc import Callable, Iterator
from http.client import HTTPException
from typing import TYPE_CHECKING, Protocol

import numpy as np

from ....errors import AudioError, MissingDependencyError
from ...audio import read as audio
from ...audio.down_mix import DownMix
from ...audio.readers.ffmpeg import AUDIO_FORMATS, frame_samples
from ...audio.resampler import Resampler
from .address import NotAudioError

if TYPE_CHECKING:
    import av
    from av.container import InputContainer

TIMEOUT_SECONDS = 10.0  # to open an address, and to wait for its next bytes
# Joining a broadcast may begin in the middle of a packet.
_MOST_BAD_PACKETS = 100
# Playlists are no audio: FFmpeg would fetch what they name.
_OPTIONS = {"format_whitelist": AUDIO_FORMATS, "protocol_whitelist": "", "fflags": "nobuffer"}
_PROBE = {"probesize": "65536", "analyzeduration": "500000"}  # bytes, microseconds


class BrokenOffError(Exception):
    """Why nothing more comes."""


class Feed(Protocol):
    """What FFmpeg reads."""

    def read(self, size: int) -> bytes:
        """Up to ``size`` bytes, as soon as there are any; none at the end."""

    def heard(self) -> None:
        """Audio was found in what came so far."""


def from_feed(feed: Feed, rate_hz: int, name: str) -> Iterator[np.ndarray]:
    """The samples of a stream such as a browser records, mono float32 (samples,) at ``rate_hz``.

    Args:
        feed: its bytes.
        rate_hz: of the samples.
        name: what errors call it.

    Raises:
        AudioError: it is no audio, or breaks off.
        MissingDependencyError: PyAV is not installed.
    """
    try:
        import av
    except ImportError:
        raise MissingDependencyError(
            f"{name}: PyAV is needed for encoded streams. Run: pip install 'muqrt[av]'"
        ) from None
    try:
        with av.open(feed, options={**_OPTIONS, **_PROBE}, metadata_errors="replace") as container:
            if not container.streams.audio:
                raise AudioError(f"{name}: there is no audio in it.")
            yield from samples_in(container, rate_hz, name, feed.heard)
    except (av.FFmpegError, OSError, NotAudioError, BrokenOffError) as error:
        raise AudioError(f"{name}: not audio, or damaged ({reason_of(error)}).") from None


def samples_in(
    container: "InputContainer", rate_hz: int, name: str, heard: Callable[[], None] | None
) -> Iterator[np.ndarray]:
    """Mono float32 (samples,) at ``rate_hz``, whatever rates and channels come.

    ``heard`` is called for each frame. Raises BrokenOffError if what comes cannot be decoded.
    """
    resampler, own_rate_hz, mix = Resampler(rate_hz, rate_hz), rate_hz, DownMix()
    for frame in _frames(container):
        if heard is not None:
            heard()
        if frame.sample_rate != own_rate_hz:
            audio.check_rate(frame.sample_rate, name)
            yield resampler.finish()
            own_rate_hz = frame.sample_rate
            resampler = Resampler(own_rate_hz, rate_hz)
        yield resampler.push(mix.push(frame_samples(frame)))
    yield resampler.finish()


def _frames(container: "InputContainer") -> Iterator["av.AudioFrame"]:
    import av

    bad = 0
    try:
        for packet in container.demux(container.streams.audio[0]):
            try:
                frames = packet.decode()
            except av.InvalidDataError:
                bad += 1
                if bad > _MOST_BAD_PACKETS:
                    raise
                continue
            bad = 0
            yield from frames
    except (av.FFmpegError, OSError, HTTPException) as error:
        raise BrokenOffError(f"it broke off ({reason_of(error)})") from None


def reason_of(error: Exception) -> str:
    """Why FFmpeg or a connection gave up, in a few words."""
    import av

    # FFmpeg was interrupted, by PyAV's clock, or Python waited too long.
    if isinstance(error, (av.error.ExitError, TimeoutError)):
        return f"nothing came for {TIMEOUT_SECONDS:g} s"
    return str(getattr(error, "strerror", None) or error)
