"""Open an audio file of any kind as a stream of blocks: the fast reader first, on any doubt the
tolerant one.

libsndfile is fast and always installed, but it takes the first link of a chain for the whole file,
guesses the length of an mp3 that does not count its frames, and stops at the first byte that it
does not understand. So a file's pages or frames are looked at before it is decoded, and FFmpeg
reads what libsndfile cannot.
"""

import os
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from ...errors import AudioError, MissingDependencyError, MuqrtError
from .damage import Damage
from .readers.blocks import (
    BLOCK_SAMPLES,
    PADDING_SECONDS,
    Block,
    DecodedAudio,
    DecodingError,
    Refusal,
)
from .readers.ffmpeg import open_with_ffmpeg
from .readers.file_bytes import FileBytes, FileRange
from .readers.libsndfile import open_with_libsndfile
from .readers.mpeg_frames import MpegFrames, find_frames
from .readers.ogg_links import find_links

# What is read at once, and a flac's block: so much before the end of the file, what stops
# libsndfile may be tags behind it.
_TAIL_SAMPLES = 2 * BLOCK_SAMPLES
_CURE = "pip install 'muqrt[av]'"
# Yields blocks, and returns why there may be more than these; None if there is no reason.
_Doubtful = Generator[Block, None, str | None]


@dataclass
class Decoding:
    """One pass over a file's samples.

    Args:
        path: the file.

    Attributes:
        promised_seconds: the length that a header counts, known before the first block; 0 if none
            does.
        read_seconds: how much has been read.
        lost_seconds: how much could not be.
    """

    path: Path
    promised_seconds: float = 0.0
    read_seconds: float = 0.0
    lost_seconds: float = 0.0
    _reasons: list[str] = field(default_factory=list)

    def blocks(self) -> Iterator[Block]:
        """The file's samples, in order.

        Raises:
            AudioError: it is no file, or no audio.
            MissingDependencyError: it needs FFmpeg, and PyAV is not installed.
        """
        _check_file(self.path)
        try:
            yield from self._parts()
        except MuqrtError:
            raise
        except OSError as error:
            raise AudioError(f"{self.path}: cannot be read ({error.strerror or error}).") from None
        except Exception as error:  # whatever a decoder stumbles over is this file's error
            raise self.not_audio(" ".join(f"{type(error).__name__}: {error}".split())) from None

    def damage(self) -> Damage | None:
        """What could not be decoded, once everything has been read."""
        if not self._reasons:
            return None
        return Damage(self.lost_seconds, self.read_seconds, "; ".join(dict.fromkeys(self._reasons)))

    def lost(self, seconds: float, *reasons: str) -> None:
        """Count audio that could not be decoded."""
        self.lost_seconds += seconds
        self._reasons += reasons

    def not_audio(self, reason: str) -> AudioError:
        """The error for a file that no reader can use."""
        return AudioError(
            f"{self.path}: not audio, or damaged from the start ({reason}). Copy or download it "
            "again."
        )

    def _parts(self) -> Iterator[Block]:
        with self.path.open("rb") as file:
            data = FileBytes(file)
            links = find_links(data)
            if len(links) < 2:
                junk_bytes = sum(link.junk_bytes for link in links)
                yield from _Part(self, data, self.path, junk_bytes).blocks()
                return
            failed = 0
            for link in links:
                part = FileRange(file, link.start, link.stop)
                try:
                    yield from _Part(self, data, part, link.junk_bytes).blocks()
                except AudioError:
                    failed += 1
                    self.lost(0.0, f"{failed} of its {len(links)} links cannot be decoded")
            if failed == len(links):
                raise self.not_audio("none of its links can be decoded")


@dataclass
class _Part:
    """A whole file or one link of a chain, read by one reader and then by the other.

    Attributes:
        whole: what counts the audio read and lost.
        data: the whole file's bytes.
        source: the file's path, or the link.
        junk_bytes: of the source, outside the pages of an Ogg.
        read_samples: how many have been read.
    """

    whole: Decoding
    data: FileBytes
    source: Path | FileRange
    junk_bytes: int
    read_samples: int = 0
    _rate_hz: int = 1
    _read_seconds: float = 0.0
    _expected_seconds: float | None = None
    _slack_seconds: float = PADDING_SECONDS
    _frames: MpegFrames | None = None
    _refusal: str | None = None
    _reasons: list[str] = field(default_factory=list)

    def blocks(self) -> Iterator[Block]:
        """The samples, and then what was lost is counted."""
        doubt = yield from self._fast(trusting=False)
        bad_seconds = 0.0
        if doubt is not None:
            try:
                bad_seconds = yield from self._tolerant()
            except ImportError:
                if self._refusal is not None:
                    raise MissingDependencyError(
                        f"{self.whole.path}: libsndfile cannot read it ({self._refusal}). If it is "
                        f"m4a, aac or another format that FFmpeg knows: {_CURE}"
                    ) from None
                self._reasons += [doubt, f"FFmpeg may read more: {_CURE}"]
            except Refusal as refusal:
                if self._refusal is not None:
                    both = f"libsndfile: {self._refusal}; FFmpeg: {refusal}"
                    raise self.whole.not_audio(both) from None
                self._reasons.append(doubt)
            if not self.read_samples and self._refusal is None:
                yield from self._fast(trusting=True)
        self._settle(bad_seconds)

    def _fast(self, trusting: bool) -> _Doubtful:
        source = self.source
        if isinstance(source, FileRange):
            source.seek(0)
        try:
            file = os.open(source, os.O_RDONLY) if isinstance(source, Path) else source
            with open_with_libsndfile(file) as audio:
                if not trusting:
                    self._expect(audio)
                    if (doubt := self._doubt()) is not None:
                        return doubt
                for block in audio.blocks:
                    yield self._counted(block)
        except Refusal as refusal:
            self._refusal = str(refusal)
            return self._refusal
        except DecodingError as error:
            # Near the end, tags may have stopped it.
            tail_seconds = _TAIL_SAMPLES / self._rate_hz
            if (self._expected_seconds or 0.0) - self._read_seconds > tail_seconds:
                self._reasons.append(f"damaged soon after {self._read_seconds:.1f} s")
            return f"decoding stopped ({error})"
        return None if self.read_samples and self._missing_seconds == 0 else self._shortfall

    def _tolerant(self) -> Generator[Block, None, float]:
        """Yields what the fast reader left; returns the length of what cannot be decoded, as far as
        the packets tell."""
        if isinstance(self.source, FileRange):
            self.source.seek(0)
        skipped = self.read_samples
        with open_with_ffmpeg(self.source) as audio:
            if self._refusal is not None:
                self._expect(audio)
            try:
                for block in audio.blocks:
                    samples = block.samples[skipped:]
                    skipped -= len(block.samples) - len(samples)
                    if len(samples):
                        yield self._counted(Block(samples, block.rate_hz))
            except DecodingError as error:
                self._reasons.append(f"decoding stopped ({error})")
        if audio.bad_packets:
            packets = "packet" if audio.bad_packets == 1 else "packets"
            self._reasons.append(f"{audio.bad_packets} {packets} could not be decoded")
        return audio.bad_seconds

    def _expect(self, audio: DecodedAudio) -> None:
        self._expected_seconds = audio.promised_seconds
        self._slack_seconds = audio.slack_seconds
        if audio.is_mpeg:
            if self._frames is None:
                self._frames = find_frames(self.data)
            self._expected_seconds = max(self._frames.promised_seconds or 0.0, self._frames.seconds)
        self.whole.promised_seconds += self._expected_seconds or 0.0

    def _doubt(self) -> str | None:
        """Why the fast reader may not read everything."""
        if self.junk_bytes:
            return f"{self.junk_bytes:,} bytes between its pages are no audio"
        return None if self._frames is None else self._frames.doubt

    def _counted(self, block: Block) -> Block:
        seconds = len(block.samples) / block.rate_hz
        self._rate_hz = block.rate_hz
        self.read_samples += len(block.samples)
        self._read_seconds += seconds
        self.whole.read_seconds += seconds
        return block

    @property
    def _missing_seconds(self) -> float:
        missing = (self._expected_seconds or 0.0) - self._read_seconds
        return missing if missing > self._slack_seconds else 0.0

    @property
    def _shortfall(self) -> str:
        counted = self._frames is None or self._frames.promised_seconds is not None
        what = "its header promises" if counted else "its frames are"
        return f"{what} {self._expected_seconds or 0.0:.1f} s"

    def _settle(self, bad_seconds: float) -> None:
        lost_seconds, frames = self._missing_seconds, self._frames
        if frames is not None and frames.gaps:
            self._reasons.append(f"{sum(frames.gaps):,} bytes between its frames are no audio")
            if frames.promised_seconds is None:
                lost_seconds += frames.gap_seconds
        if frames is not None and frames.ends_inside_frame:
            self._reasons.append("it ends inside a frame")
        if self.junk_bytes:
            self._reasons.append(f"{self.junk_bytes:,} bytes between its pages are no audio")
        if lost_seconds:
            self._reasons.append(self._shortfall)
        elif self._expected_seconds is None:
            lost_seconds = bad_seconds
        elif self._reasons:
            lost_seconds = max(0.0, self._expected_seconds - self._read_seconds)
        if self._reasons:
            self.whole.lost(lost_seconds, *self._reasons)


def _check_file(path: Path) -> None:
    if path.is_dir():
        raise AudioError(f"{path}: is a folder; name the audio files inside it.")
    if not path.exists():
        raise AudioError(f"{path}: no such file; check the spelling of the path.")
    if not path.is_file():
        raise AudioError(f"{path}: not a regular file; save the audio to a file first.")
    try:
        with path.open("rb") as file:
            empty = not file.read(1)
    except OSError as error:
        raise AudioError(f"{path}: cannot be opened ({error.strerror}).") from None
    if empty:
        raise AudioError(f"{path}: the file is empty; copy or download it again.")
