import struct
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from muqrt.training.synth.scores.wad import midi_lumps


def wad(lumps: dict[bytes, bytes]) -> bytes:
    body, entries = b"", b""
    for name, content in lumps.items():
        entries += struct.pack("<ii8s", 12 + len(body), len(content), name)
        body += content
    return struct.pack("<4sii", b"IWAD", len(lumps), 12 + len(body)) + body + entries


def written(folder: Path, data: bytes) -> Path:
    path = folder / f"{len(list(folder.iterdir()))}.wad"
    path.write_bytes(data)
    return path


def test_midi_files_are_found_by_name(tmp_path: Path) -> None:
    song = b"MThd and more"
    path = written(tmp_path, wad({b"D_E1M1": song, b"FLOOR": b"picture", b"D_INTRO8": song}))
    assert midi_lumps(path) == {"D_E1M1": song, "D_INTRO8": song}


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"IWAD",
        b"RIFF" + bytes(20),
        struct.pack("<4sii", b"IWAD", 1, 12),
        struct.pack("<4sii", b"IWAD", -1, 12),
        struct.pack("<4sii", b"IWAD", 1, -5) + bytes(40),
        struct.pack("<4sii", b"IWAD", 1, 12) + struct.pack("<ii8s", 0, 9999, b"D_X"),
        struct.pack("<4sii", b"IWAD", 1, 12) + struct.pack("<ii8s", -4, 4, b"D_X"),
    ],
)
def test_what_is_no_wad_is_refused(data: bytes, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"not a WAD|outside"):
        midi_lumps(written(tmp_path, data))


@given(data=st.binary(max_size=64))
def test_no_bytes_raise_anything_else(
    data: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = written(tmp_path_factory.mktemp("wad"), b"PWAD" + data)
    with suppress(ValueError):
        midi_lumps(path)
