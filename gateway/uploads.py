"""Request bodies as files: the audio itself, or a form with several files.

A body is written to the disk as it comes; the memory holds a piece of it.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from errno import EDQUOT, ENOSPC
from pathlib import Path
from typing import Any, BinaryIO

from ..common.environment import import_extra
from ..triton_repo.front.asgi import Receive, RefusedError, Scope, header
from .limits import GatewayLimits

_PIECE_BYTES = 1 << 20
_FORM, _JSON = "multipart/form-data", "application/json"
_LONGEST_NAME_CHARACTERS = 200
_UNNAMED = "audio"


class ClientGoneError(Exception):
    """The client went away before its request had come."""


@contextmanager
def telling_of_full_disks() -> Iterator[None]:
    """Raise RefusedError where there is no room to write."""
    try:
        yield
    except OSError as error:
        if error.errno not in (ENOSPC, EDQUOT):
            raise
        raise RefusedError(
            507, "the gateway's disk is full: try again later, or send shorter audio"
        ) from error


@dataclass(frozen=True)
class Upload:
    """An audio file of a request.

    Attributes:
        path: where it lies.
        name: what the client calls it.
    """

    path: Path
    name: str


@dataclass
class Request:
    """What a body holds.

    Attributes:
        files: its audio.
        fields: a form's other fields, by name.
        json: a JSON body; None where it is none.
    """

    files: list[Upload] = field(default_factory=list)
    fields: dict[str, list[str]] = field(default_factory=dict)
    json: bytes | None = None


async def read_request(
    scope: Scope, receive: Receive, folder: Path, limits: GatewayLimits
) -> Request:
    """Read a body, its files into an empty folder.

    Raises:
        RefusedError: it is empty, malformed, or has too many files or fields.
        ClientGoneError: its end did not come.
    """
    given = (header(scope, b"content-type") or b"").decode("latin-1")
    kind = given.partition(";")[0].strip().lower()
    if kind == _FORM:
        return await _read_form(given, receive, folder, limits)
    if kind == _JSON:
        body = bytearray()
        async for piece in _pieces(receive):
            body += piece
            if len(body) > limits.field_bytes:
                raise RefusedError(413, f"JSON may have {limits.field_bytes >> 10} KiB")
        return Request(json=bytes(body))
    upload, size = Upload(folder / "0", _UNNAMED), 0
    with upload.path.open("wb") as file:
        async for piece in _gathered(_pieces(receive)):
            size += len(piece)
            await asyncio.to_thread(file.write, piece)
    if not size:
        raise RefusedError(400, "the body is empty: send an audio file, as it is or in a form")
    return Request([upload])


async def _pieces(receive: Receive) -> AsyncIterator[bytes]:
    more = True
    while more:
        message = await receive()
        if message["type"] != "http.request":
            raise ClientGoneError
        more = message.get("more_body", False)
        yield message.get("body", b"")


async def _gathered(pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The same bytes in fewer pieces: each is written in a thread."""
    waiting: list[bytes] = []
    size = 0
    async for piece in pieces:
        waiting.append(piece)
        size += len(piece)
        if size >= _PIECE_BYTES:
            yield b"".join(waiting)
            waiting, size = [], 0
    if size:
        yield b"".join(waiting)


async def _read_form(
    content_type: str, receive: Receive, folder: Path, limits: GatewayLimits
) -> Request:
    multipart = import_extra("web", "python_multipart.multipart")
    malformed = import_extra("web", "python_multipart.exceptions").FormParserError
    _, options = multipart.parse_options_header(content_type)
    if not options.get(b"boundary"):
        raise RefusedError(400, "the form's Content-Type names no boundary")
    with _Form(folder, limits) as form:
        try:
            parser = multipart.MultipartParser(options[b"boundary"], form.callbacks)
            async for piece in _gathered(_pieces(receive)):
                # Also writes: its files' bytes go to the disk before the next are read.
                await asyncio.to_thread(parser.write, piece)
        except malformed as error:
            raise RefusedError(400, f"the form is malformed ({error})") from None
        if not form.is_whole:
            raise RefusedError(400, "the form is cut short: its last boundary is missing")
    if not form.request.files:
        raise RefusedError(400, "the form has no file: curl -F audio=@song.mp3")
    return form.request


class _Form:
    """Takes a form apart, as python-multipart's parser calls back."""

    def __init__(self, folder: Path, limits: GatewayLimits) -> None:
        self.request, self.is_whole = Request(), False
        self._folder, self._limits = folder, limits
        self._headers: dict[str, str] = {}
        self._name = self._value = b""
        self._file: BinaryIO | None = None
        self._field, self._text = "", bytearray()
        self._field_bytes = 0

    def __enter__(self) -> "_Form":
        return self

    def __exit__(self, *error: object) -> None:
        if self._file is not None:
            self._file.close()

    @property
    def callbacks(self) -> Mapping[str, Any]:
        """By the parser's names."""
        return {
            "on_part_begin": self._begin,
            "on_header_field": self._header_name,
            "on_header_value": self._header_value,
            "on_header_end": self._header_end,
            "on_headers_finished": self._open,
            "on_part_data": self._data,
            "on_part_end": self._close,
            "on_end": self._end,
        }

    def _begin(self) -> None:
        self._headers = {}
        self._count(1)  # empty parts are not free

    def _count(self, size: int) -> None:
        """Bound what is kept in memory."""
        self._field_bytes += size
        if self._field_bytes > self._limits.field_bytes:
            kib = self._limits.field_bytes >> 10
            raise RefusedError(413, f"a form's fields and its parts' headers may have {kib} KiB")

    def _header_name(self, data: bytes, start: int, end: int) -> None:
        self._count(end - start)
        self._name += data[start:end]

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._count(end - start)
        self._value += data[start:end]

    def _header_end(self) -> None:
        self._headers[self._name.decode("latin-1").lower()] = self._value.decode("latin-1")
        self._name = self._value = b""

    def _open(self) -> None:
        parse = import_extra("web", "python_multipart.multipart").parse_options_header
        _, options = parse(self._headers.get("content-disposition", ""))
        self._field = options.get(b"name", b"").decode("utf-8", "replace")
        if b"filename" not in options:
            self._text = bytearray()
            return
        files = self.request.files
        if len(files) == self._limits.files:
            raise RefusedError(413, f"a request may have {self._limits.files} files")
        name = shown_name(options[b"filename"].decode("utf-8", "replace"))
        files.append(Upload(self._folder / str(len(files)), name))
        self._file = files[-1].path.open("wb")

    def _data(self, data: bytes, start: int, end: int) -> None:
        if self._file is not None:
            self._file.write(memoryview(data)[start:end])
            return
        self._count(end - start)
        self._text += data[start:end]

    def _close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None
            return
        try:
            text = self._text.decode()
        except UnicodeDecodeError:
            raise RefusedError(400, "a form's fields must be UTF-8") from None
        self.request.fields.setdefault(self._field, []).append(text)

    def _end(self) -> None:
        self.is_whole = True


def shown_name(name: str) -> str:
    """A file's name as it is repeated to the client: the last part of a path."""
    last = name.replace("\\", "/").rpartition("/")[2]
    printable = "".join(each for each in last if each.isprintable())
    return printable[:_LONGEST_NAME_CHARACTERS] or _UNNAMED
