"""The MIDI files in a WAD, the archive of Doom's engines."""

import struct
from functools import lru_cache
from pathlib import Path

_HEADER = struct.Struct("<4sii")
_ENTRY = struct.Struct("<ii8s")
_KINDS = (b"IWAD", b"PWAD")
_MIDI = b"MThd"
_MOST_BYTES = 1 << 28


@lru_cache(2)
def midi_lumps(path: Path) -> dict[str, bytes]:
    """Name and content of every MIDI file in a WAD, in its order.

    Raises:
        ValueError: not a WAD.
    """
    if path.stat().st_size > _MOST_BYTES:
        raise ValueError(f"{path}: over {_MOST_BYTES} bytes.")
    data = path.read_bytes()
    if len(data) < _HEADER.size:
        raise ValueError(f"{path}: not a WAD.")
    kind, count, offset = _HEADER.unpack_from(data)
    if kind not in _KINDS or count < 0 or not 0 <= offset <= len(data) - count * _ENTRY.size:
        raise ValueError(f"{path}: not a WAD.")
    lumps = {}
    for index in range(count):
        start, size, name = _ENTRY.unpack_from(data, offset + index * _ENTRY.size)
        if start < 0 or size < 0 or start + size > len(data):
            raise ValueError(f"{path}: a lump lies outside the file.")
        content = data[start : start + size]
        if content.startswith(_MIDI):
            lumps[name.rstrip(b"\0").decode("ascii", "replace")] = content
    return lumps
