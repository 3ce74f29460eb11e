"""Audio from an address on the network: radio over http, live hls, or a file. Through PyAV."""

import logging
from collections.abc import Iterator
from contextlib import closing
from typing import TYPE_CHECKING

import numpy as np

from ....common.retry import Backoff, Retry
from ....errors import AudioError, MissingDependencyError
from ...audio import read as audio
from ...audio.down_mix import DownMix
from ...audio.readers.ffmpeg import AUDIO_FORMATS, frame_samples
from ...audio.resampler import Resampler
from .chunks import cut, played

if TYPE_CHECKING:
    import av
    from av.container import InputContainer

PATIENCE_SECONDS = 60.0
_SCHEMES = ("http://", "https://")
_TIMEOUT_SECONDS = 10.0  # to open an address, and to wait for its next bytes
_BACKOFF = Backoff(first_seconds=0.5, longest_seconds=8.0)
# Joining a broadcast may begin in the middle of a packet.
_MOST_BAD_PACKETS = 100
_FFMPEG_OPTIONS = {
    "format_whitelist": f"{AUDIO_FORMATS},hls",
    # No local file, whatever a playlist found there names.
    "protocol_whitelist": "http,https,httpproxy,tcp,tls,crypto",
    "user_agent": "muqrt",
}

_log = logging.getLogger(__name__)


class _BrokenOffError(Exception):
    """Why an address sends nothing more."""


def is_url(source: str) -> bool:
    """Whether the source is an http or https address, not a file's path."""
    return source.lower().startswith(_SCHEMES)


def from_url(
    url: str, rate_hz: int, real_time: bool = True, retry: Retry | None = None
) -> Iterator[np.ndarray]:
    """The chunks of what an http or https address sends, at ``rate_hz``.

    A file is played in real time, or read as fast as possible. A broadcast, whose length is not
    known, comes as fast as it is sent; when it breaks off it is opened again, after growing pauses.
    The chunks then leave no gap: what was missed takes no time.

    Args:
        url: the address.
        rate_hz: of the chunks.
        real_time: whether a file is played at its own speed.
        retry: when a broadcast is opened again; for ``PATIENCE_SECONDS`` when None.

    Raises:
        AudioError: it cannot be opened or is no audio; a file broke off; a broadcast could not be
            opened again.
        MissingDependencyError: PyAV is not installed.
    """
    retry, has_begun = retry or Retry(_BACKOFF, PATIENCE_SECONDS), False
    while True:
        length_known = False
        try:
            with closing(_opened(url)) as container:
                length_known = bool(container.duration)
                chunks = cut(_samples(container, rate_hz, url), rate_hz)
                for chunk in played(chunks, rate_hz) if length_known and real_time else chunks:
                    retry.succeeded()
                    has_begun = True
                    yield chunk
            if length_known:
                return
            reason = "the broadcast ended"
        except _BrokenOffError as error:
            reason = str(error)
        if not has_begun:
            raise AudioError(
                f"{url}: {reason}. Check the address; it must be the audio's own, or an hls "
                "playlist's (.m3u8), not a web page's."
            )
        given_up = AudioError(f"{url}: {reason}. Try again later.")
        if length_known:
            raise given_up
        pause = retry.pause_after(given_up)
        _log.warning("%s: %s; opening it again in %.1f s.", url, reason, pause)
        retry.sleep(pause)


def _opened(url: str) -> "InputContainer":
    try:
        import av
    except ImportError:
        raise MissingDependencyError(
            f"{url}: PyAV is needed to listen to an address. Run: pip install 'muqrt[av]'"
        ) from None
    try:
        container = av.open(url, options=_FFMPEG_OPTIONS, timeout=_TIMEOUT_SECONDS)
    except av.FFmpegError as error:
        raise _BrokenOffError(f"it cannot be opened ({_reason(error)})") from None
    if not container.streams.audio:
        container.close()
        raise _BrokenOffError("there is no audio in it")
    return container


def _samples(container: "InputContainer", rate_hz: int, url: str) -> Iterator[np.ndarray]:
    """Mono float32 (samples,) at ``rate_hz``, whatever rates and channels are sent."""
    resampler, own_rate_hz, mix = Resampler(rate_hz, rate_hz), rate_hz, DownMix()
    for frame in _frames(container):
        if frame.sample_rate != own_rate_hz:
            audio.check_rate(frame.sample_rate, url)
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
    except av.FFmpegError as error:
        raise _BrokenOffError(f"it broke off ({_reason(error)})") from None


def _reason(error: "av.FFmpegError") -> str:
    import av

    if isinstance(error, av.error.ExitError):  # FFmpeg was interrupted, by PyAV's clock
        return f"nothing came for {_TIMEOUT_SECONDS:g} s"
    return error.strerror or str(error)
