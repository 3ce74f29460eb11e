"""What an http(s) address sends: a broadcast without an end, a file, or an hls playlist.

Broadcasts are read here and not by FFmpeg, which gathers whatever comes until it finds audio in
it. Playlists are looked at before FFmpeg follows them: it would follow one that names itself
without an end.
"""

import re
import ssl
from http.client import HTTPException, HTTPResponse
from urllib.parse import urljoin
from urllib.request import (
    HTTPHandler,
    HTTPSHandler,
    ProxyHandler,
    Request,
)

from ....common.network import http_opener

USER_AGENT = "muqrt"
# So much may come without any audio: a cover, or the tags of a file.
MOST_SILENT_BYTES = 32 << 20
_MOST_PLAYLIST_BYTES = 4 << 20
_MOST_VARIANTS = 64
_VARIANT = re.compile(r"^#EXT-X-STREAM-INF[^\n]*\n(?:#[^\n]*\n|\s*\n)*([^#\s][^\n]*)", re.MULTILINE)
_RENDITION = re.compile(r'^#EXT-X-MEDIA:[^\n]*URI="([^"\n]+)"', re.MULTILINE)


class NotAudioError(Exception):
    """What an address sends is no audio, and will not become any."""


class Body:
    """The body of an answer, for FFmpeg to read.

    Args:
        url: the address.
        timeout_seconds: how long to wait for an answer, and for its next bytes.

    Attributes:
        has_length: whether it says where it ends.

    Raises:
        OSError: it cannot be reached, answers with an error, or is not http or https.
        HTTPException, ValueError: the answer, or the address, is not such as Python understands.
    """

    def __init__(self, url: str, timeout_seconds: float) -> None:
        request = Request(url, headers={"User-Agent": USER_AGENT})
        opener = http_opener(ProxyHandler(), HTTPHandler(), HTTPSHandler(context=_unverified()))
        self._response: HTTPResponse = opener.open(request, timeout=timeout_seconds)
        self.url = self._response.url
        self.has_length = self._response.length is not None
        self._silent_bytes = 0
        self._first = b""

    @property
    def is_playlist(self) -> bool:
        """Whether it is an hls playlist."""
        kind = self._response.headers.get_content_type()
        if not self._first:
            self._first = self._response.read1(16)
        return "mpegurl" in kind.lower() or self._first.startswith(b"#EXTM3U")

    def read(self, size: int) -> bytes:
        """Up to ``size`` bytes, as soon as there are any; none at the end.

        Raises:
            NotAudioError: too much came without any audio.
            TimeoutError: nothing came.
        """
        data, self._first = self._first[:size], self._first[size:]
        if not data:
            data = self._response.read1(size)
        self._silent_bytes += len(data)
        if self._silent_bytes > MOST_SILENT_BYTES:
            raise NotAudioError(f"{MOST_SILENT_BYTES >> 20} MiB came, and no audio in them")
        return data

    def heard(self) -> None:
        """Audio was found in what came so far."""
        self._silent_bytes = 0

    def text(self) -> str:
        """The whole of a playlist.

        Raises:
            NotAudioError: it has no end.
        """
        found = bytearray(self._first)
        while data := self._response.read1(1 << 16):
            found += data
            if len(found) > _MOST_PLAYLIST_BYTES:
                raise NotAudioError(f"its playlist is longer than {_MOST_PLAYLIST_BYTES >> 20} MiB")
        return found.decode(errors="replace")

    def close(self) -> None:
        """End the connection."""
        self._response.close()


def checked_playlist(url: str, text: str, timeout_seconds: float) -> str:
    """Refuse a playlist whose variants are not all lists of segments.

    Returns:
        The playlist, and those that it names.

    Args:
        url: the playlist's.
        text: the playlist.
        timeout_seconds: how long to wait for each variant.

    Raises:
        NotAudioError: it names itself, or another list of lists; or too many.
    """
    named = dict.fromkeys(_VARIANT.findall(text) + _RENDITION.findall(text))
    if len(named) > _MOST_VARIANTS:
        raise NotAudioError(f"its playlist names {len(named)} others; {_MOST_VARIANTS} at most")
    texts = [text]
    for name in named:
        try:
            variant = Body(urljoin(url, name.strip()), timeout_seconds)
        except (OSError, HTTPException, ValueError):
            continue  # one of several may be out of order
        try:
            texts.append(variant.text())
            if "#EXT-X-STREAM-INF" in texts[-1]:
                raise NotAudioError("its playlist names a playlist of playlists")
        finally:
            variant.close()
    return "".join(texts)


def _unverified() -> ssl.SSLContext:
    # As FFmpeg does it: what is heard on an address is no secret, and many a station's certificate
    # has run out.
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context
