"""Audio from an address on the network: radio over http, live hls, or a file. Through PyAV."""

import logging
from collections.abc import Generator, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from http.client import HTTPException
from typing import TYPE_CHECKING

import numpy as np

from ....common.retry import Backoff, Retry
from ....errors import AudioError, MissingDependencyError
from ...audio.prefetch import prefetch
from ...audio.readers.ffmpeg import AUDIO_FORMATS
from . import encoded
from .address import USER_AGENT, Body, NotAudioError, checked_playlist
from .chunks import cut, played
from .encoded import BrokenOffError, reason_of, samples_in

if TYPE_CHECKING:
    from av.container import InputContainer

PATIENCE_SECONDS = 60.0
_SCHEMES = ("http://", "https://")
_BACKOFF = Backoff(first_seconds=0.5, longest_seconds=8.0)
_FFMPEG_OPTIONS = {
    "format_whitelist": f"{AUDIO_FORMATS},hls",
    # No local file, whatever a playlist found there names.
    "protocol_whitelist": "http,https,httpproxy,tcp,tls,crypto",
    "user_agent": USER_AGENT,
    # A segment is sound and no further playlist.
    "seg_format_options": f"format_whitelist={AUDIO_FORMATS}",
}
_FRAMES_AHEAD = 64

_log = logging.getLogger(__name__)


@dataclass
class _Connection:
    """One opening of an address.

    Attributes:
        heard: the hls playlist that was heard before, if any.
        playlist: this one's.
        length_known: once something has come from it.
    """

    heard: str | None = None
    playlist: str | None = None
    length_known: bool = False


def is_url(source: str) -> bool:
    """Whether the source is an http or https address, not a file's path."""
    return source.lower().startswith(_SCHEMES)


def from_url(
    url: str, rate_hz: int, real_time: bool = True, retry: Retry | None = None
) -> Iterator[np.ndarray]:
    """The chunks of what an http or https address sends, at ``rate_hz``.

    A file is played in real time, or read as fast as possible. A broadcast, whose length is not
    known, comes as fast as it is sent; when it breaks off it is opened again, after growing pauses.
    The chunks then leave no gap: what was missed takes no time. A live playlist to which nothing is
    added is a broadcast that cannot be opened: its last segments are not heard again.

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
    connection = _Connection()
    while True:
        connection = _Connection(connection.heard)
        try:
            # FFmpeg waits in a thread of its own: a signal would not interrupt it.
            with closing(prefetch(_heard(url, rate_hz, connection), _FRAMES_AHEAD)) as heard:
                next(heard)  # empty: it is open
                at_its_speed = connection.length_known and real_time
                chunks = cut(heard, rate_hz)
                for chunk in played(chunks, rate_hz) if at_its_speed else chunks:
                    retry.succeeded()
                    has_begun = True
                    connection.heard = connection.playlist
                    yield chunk
            if connection.length_known:
                return
            reason = "the broadcast ended"
        except BrokenOffError as error:
            reason = str(error)
        except NotAudioError as error:
            raise _no_audio(url, str(error)) from None
        if not has_begun:
            raise _no_audio(url, reason)
        given_up = AudioError(f"{url}: {reason}. Try again later.")
        if connection.length_known:
            raise given_up
        pause = retry.pause_after(given_up)
        _log.warning("%s: %s; opening it again in %.1f s.", url, reason, pause)
        retry.sleep(pause)


def _no_audio(url: str, reason: str) -> AudioError:
    return AudioError(
        f"{url}: {reason}. Check the address; it must be the audio's own, or an hls playlist's "
        "(.m3u8), not a web page's."
    )


def _heard(url: str, rate_hz: int, connection: _Connection) -> Generator[np.ndarray, None, None]:
    """An empty block once the address is open, and then its samples."""
    try:
        import av  # noqa: F401
    except ImportError:
        raise MissingDependencyError(
            f"{url}: PyAV is needed to listen to an address. Run: pip install 'muqrt[av]'"
        ) from None
    with ExitStack() as stack:
        body = _body(url, connection)
        if body is not None:
            stack.callback(body.close)
        container = stack.enter_context(_opened(url, body))
        connection.length_known = body is None and bool(container.duration)
        yield np.zeros(0, np.float32)
        yield from samples_in(container, rate_hz, url, None if body is None else body.heard)


def _body(url: str, connection: _Connection) -> Body | None:
    """What a broadcast sends; None for what FFmpeg fetches itself: files, for it looks at their
    ends first, and playlists."""
    try:
        with ExitStack() as stack:
            body = Body(url, encoded.TIMEOUT_SECONDS)
            stack.callback(body.close)
            if body.is_playlist:
                connection.playlist = checked_playlist(
                    body.url, body.text(), encoded.TIMEOUT_SECONDS
                )
                if connection.playlist == connection.heard:
                    raise BrokenOffError("nothing was added to its playlist")
                return None
            if body.has_length:
                return None
            stack.pop_all()
            return body
    except OSError as error:
        cause = getattr(error, "reason", None)
        reason = reason_of(cause if isinstance(cause, OSError) else error)
        raise BrokenOffError(f"it cannot be opened ({reason})") from None
    except (HTTPException, ValueError):  # an old station's answer, or an address with a password
        return None


def _opened(url: str, body: Body | None) -> "InputContainer":
    import av

    try:
        container: InputContainer = av.open(  # type: ignore[assignment]
            url if body is None else body,
            options=_FFMPEG_OPTIONS,
            timeout=encoded.TIMEOUT_SECONDS,
            metadata_errors="replace",
        )
    except (av.FFmpegError, OSError, HTTPException) as error:
        raise BrokenOffError(f"it cannot be opened ({reason_of(error)})") from None
    if not container.streams.audio:
        container.close()
        raise BrokenOffError("there is no audio in it")
    return container
