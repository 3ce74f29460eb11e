"""Random access to a file's bytes, and a range of them as a file of its own."""

import io
import os
import re
from collections.abc import Iterator
from typing import BinaryIO

CHUNK_BYTES = 1 << 20
_PIECE_BYTES = 1 << 16


class FileBytes:
    """A file's bytes, read in large chunks of which one is kept.

    Attributes:
        size: the file's, in bytes.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.size = file.seek(0, os.SEEK_END)
        self._chunk, self._start = b"", 0

    def at(self, position: int, count: int) -> bytes:
        """Up to ``count`` bytes; fewer only at the end."""
        offset = position - self._start
        if offset < 0 or offset + count > len(self._chunk):
            self._file.seek(position)
            self._chunk, self._start = self._file.read(max(CHUNK_BYTES, count)), position
            offset = 0
        return self._chunk[offset : offset + count]

    def find_all(self, pattern: re.Pattern[bytes], position: int) -> Iterator[int]:
        """Every place from ``position`` on where the pattern, of 4 bytes at most, matches."""
        while position < self.size:
            piece = self.at(position, _PIECE_BYTES)
            yield from (position + match.start() for match in pattern.finditer(piece))
            position += max(1, len(piece) - 3)


class FileRange(io.RawIOBase):
    """The bytes of a file from ``start`` to ``stop``, as a file that only these are in."""

    def __init__(self, file: BinaryIO, start: int, stop: int) -> None:
        self._file, self._start, self._size = file, start, stop - start
        self._position = 0

    def readable(self) -> bool:
        """Whether it can be read: always."""
        return True

    def seekable(self) -> bool:
        """Whether it can be positioned: always."""
        return True

    def tell(self) -> int:
        """The position, in bytes."""
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go to a position; returns it."""
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._size}[whence]
        self._position = max(0, base + offset)
        return self._position

    def readinto(self, buffer: "memoryview | bytearray") -> int:  # type: ignore[override]
        """Fill the buffer; returns how many bytes there were."""
        self._file.seek(self._start + self._position)
        wanted = max(0, min(len(buffer), self._size - self._position))
        data = self._file.read(wanted)
        buffer[: len(data)] = data
        self._position += len(data)
        return len(data)
