"""The frames of an MPEG audio file (mp3, mp2), found by their headers without decoding.

A reader that is not told how many frames there are guesses from the file's size, and stops there.
The headers say it exactly: they lead from frame to frame, through the whole file.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import islice
from typing import NamedTuple

from .file_bytes import CHUNK_BYTES, FileBytes

_KBPS_1 = {
    1: (32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    2: (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    3: (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
}
_KBPS_2 = {
    1: (32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    2: (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    3: (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_RATES_HZ = (44_100, 48_000, 32_000)
# Where bytes look like a header by chance, so many do not follow one another.
_CHAIN = 4
# What a header may begin with.
_SYNC = re.compile(rb"\xff[\xe2-\xff][\x10-\xef]", re.DOTALL)
# After so many that are none, the rest of a file is taken for junk.
_MOST_CANDIDATES = 200_000


class Header(NamedTuple):
    """A frame's header: its size, samples per channel, rate, channels and bit rate."""

    size_bytes: int
    samples: int
    rate_hz: int
    channels: int
    kbps: int
    is_mpeg_1: bool
    layer: int


@dataclass
class MpegFrames:
    """What a walk over a file's frames found.

    Attributes:
        frames: how many frames of audio are whole.
        seconds: their audio's length.
        shapes: their rates and channels.
        kbps: their bit rates.
        counted_frames: how many a Xing, Info or VBRI header says there are.
        promised_seconds: the length of these, without what the encoder added.
        gaps: bytes between the frames that are neither frames nor tags.
        gap_seconds: how much audio would have had room there.
        ends_inside_frame: whether the last frame is incomplete.
    """

    frames: int = 0
    seconds: float = 0.0
    shapes: set[tuple[int, int]] = field(default_factory=set)
    kbps: set[int] = field(default_factory=set)
    counted_frames: int | None = None
    promised_seconds: float | None = None
    gaps: list[int] = field(default_factory=list)
    gap_seconds: float = 0.0
    ends_inside_frame: bool = False

    @property
    def doubt(self) -> str | None:
        """Why a reader that does not look at every header may read something else."""
        if self.gaps:
            return f"{sum(self.gaps):,} bytes between its frames are no audio"
        if len(self.shapes) > 1:
            return "its rate or its channels change"
        if self.counted_frames is None and len(self.kbps) > 1:
            return "frames of several bit rates, and no count of them"
        # Some encoders count the frame that holds the count.
        if self.counted_frames is not None and self.frames > self.counted_frames + 1:
            return "more frames than its header counts"
        return None


def parse(word: int) -> Header | None:
    """The header in 32 bits; None if there is none, or if it does not tell its frame's size."""
    version, layer = word >> 19 & 3, 4 - (word >> 17 & 3)
    kbps_index, rate_index = word >> 12 & 15, word >> 10 & 3
    if word >> 21 != 0x7FF or version == 1 or layer == 4:
        return None
    if kbps_index in (0, 15) or rate_index == 3:
        return None
    is_mpeg_1 = version == 3
    kbps = (_KBPS_1 if is_mpeg_1 else _KBPS_2)[layer][kbps_index - 1]
    rate_hz = _RATES_HZ[rate_index] >> {3: 0, 2: 1, 0: 2}[version]
    samples = 384 if layer == 1 else 576 if layer == 3 and not is_mpeg_1 else 1152
    padding = word >> 9 & 1
    slot_bytes = 4 if layer == 1 else 1
    size_bytes = (samples // 8 * kbps * 1000 // rate_hz // slot_bytes + padding) * slot_bytes
    channels = 1 if word >> 6 & 3 == 3 else 2
    return Header(size_bytes, samples, rate_hz, channels, kbps, is_mpeg_1, layer)


def find_frames(data: FileBytes) -> MpegFrames:
    """Walk over all frames of a file."""
    found, position = MpegFrames(), 0
    while position < data.size:
        header = _header(data, position)
        if header is not None and position + header.size_bytes > data.size:
            found.ends_inside_frame = found.frames > 0
            break
        if header is not None and not found.frames:
            frame = data.at(position, header.size_bytes)
            if _read_count(found, frame, header):
                position += header.size_bytes
                continue
        if header is not None:
            position = _follow(found, data, position)
        elif tag_bytes := _tag_bytes(data, position):
            position += tag_bytes
        else:
            following = _next_chain(data, position)
            if found.frames and following < data.size:
                _add_gap(found, following - position)
            position = following
    return found


def _follow(found: MpegFrames, data: FileBytes, position: int) -> int:
    """Count the whole frames that follow one another from here; returns where they end."""
    start, count = position, dict[bytes, int]()
    chunk = data.at(position, CHUNK_BYTES)
    offset, stop = 0, len(chunk) - 4
    while offset <= stop:  # a line more here is felt: an hour has 140,000 frames
        key = chunk[offset : offset + 4]
        header = _parse_bytes(key)
        if header is None or start + offset + header.size_bytes > data.size:
            break
        count[key] = count.get(key, 0) + 1
        offset += header.size_bytes
    for key, frames in count.items():
        header = _parse_bytes(key)
        assert header is not None
        found.frames += frames
        found.seconds += frames * header.samples / header.rate_hz
        found.shapes.add((header.rate_hz, header.channels))
        found.kbps.add(header.kbps)
    return start + offset


@lru_cache(maxsize=1024)
def _parse_bytes(start: bytes) -> Header | None:
    return parse(int.from_bytes(start, "big")) if len(start) == 4 else None


def _header(data: FileBytes, position: int) -> Header | None:
    return _parse_bytes(data.at(position, 4))


def _add_gap(found: MpegFrames, size_bytes: int) -> None:
    found.gaps.append(size_bytes)
    found.gap_seconds += size_bytes * 8 / 1000 / (sum(found.kbps) / len(found.kbps))


def _tag_bytes(data: FileBytes, position: int) -> int:
    """The size of the tag here, 0 if there is none."""
    start = data.at(position, 32)
    if start[:1] not in b"ITA" or not start:
        return 0
    if start[:3] == b"ID3" and len(start) >= 10:
        size = 0
        for byte in start[6:10]:
            size = size << 7 | byte & 0x7F
        return 10 + size + (10 if start[5] & 0x10 else 0)
    if start[:3] == b"TAG":
        return 128
    if start[:8] == b"APETAGEX" and len(start) == 32:
        has_header = start[23] & 0x20
        return int.from_bytes(start[12:16], "little") + 32 if has_header else 32
    return 0


def _next_chain(data: FileBytes, position: int) -> int:
    """Where the next frames begin, or the file's size: several in a row, or as many as fit."""
    candidates = islice(data.find_all(_SYNC, position + 1), _MOST_CANDIDATES)
    return next((each for each in candidates if _is_chain(data, each)), data.size)


def _is_chain(data: FileBytes, position: int) -> bool:
    kind = None
    for _ in range(_CHAIN):
        header = _header(data, position)
        if header is None or (kind is not None and header[2:3] + header[5:] != kind):
            return False
        kind = header[2:3] + header[5:]
        position += header.size_bytes
        if position == data.size:
            return True
    return True


def _read_count(found: MpegFrames, frame: bytes, header: Header) -> bool:
    """Read the count of frames from a first frame that holds it instead of audio."""
    side_bytes = {True: {1: 17, 2: 32}, False: {1: 9, 2: 17}}[header.is_mpeg_1][header.channels]
    # A frame's checksum, which few have, comes before its side information.
    for start in (4 + side_bytes, 6 + side_bytes):
        if frame[start : start + 4] in (b"Xing", b"Info"):
            if frame[start + 7] & 1:
                count = int.from_bytes(frame[start + 8 : start + 12], "big")
                _promise(found, header, count, _trimmed_samples(frame[start:]))
            return True
    if frame[36:40] == b"VBRI":
        count = int.from_bytes(frame[50:54], "big")
        _promise(found, header, count, 0)
        return True
    return False


def _promise(found: MpegFrames, header: Header, count: int, trimmed_samples: int) -> None:
    found.counted_frames = count
    found.promised_seconds = max(0, count * header.samples - trimmed_samples) / header.rate_hz


def _trimmed_samples(xing: bytes) -> int:
    """How many samples a LAME tag says the encoder added at the beginning and at the end."""
    fields = _field_bytes(xing[7])
    lame = xing[8 + sum(fields) :]
    if len(lame) < 24 or lame[:4] not in (b"LAME", b"Lavf", b"Lavc"):
        return 0
    both = int.from_bytes(lame[21:24], "big")
    return (both >> 12) + (both & 0xFFF)


def _field_bytes(flags: int) -> Iterator[int]:
    for bit, size_bytes in ((1, 4), (2, 4), (4, 100), (8, 4)):
        if flags & bit:
            yield size_bytes
