"""Open an audio file of any kind as a stream of float32 blocks: libsndfile first, then FFmpeg.

libsndfile reads wav, flac, ogg, opus, mp3 and aiff. FFmpeg, through PyAV, reads m4a, aac and
other formats that libsndfile refuses; PyAV is large, so it is an optional extra, imported on use.
"""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import soundfile

from ...errors import AudioError, MissingDependencyError

if TYPE_CHECKING:
    import av

# Large enough to make the cost of each block small, small enough to place an error in time.
_BLOCK_SAMPLES = 16_384

# libsndfile shortens a cut file's length to what is there and tells the difference in its log.
_SHORTENED = re.compile(
    r"^\s*(?:data|SSND|Data Size|Riff size|riff)\s*: (\d+) \(should be (\d+)\)", re.MULTILINE
)
# A program that writes a wav into a pipe cannot know its length and writes one of the largest
# sizes instead: a promise of this many bytes is none.
_UNKNOWN_BYTES = 0x7FFF_F000
# What FFmpeg may open. It knows playlists too, that make it wait for a live broadcast or fetch
# from a network, and images, subtitles and text.
AUDIO_FORMATS = (
    "mov,aac,loas,matroska,asf,caf,ac3,eac3,dts,amr,ape,wv,tta,mpc,mpc8,tak,ogg,mp3,wav,w64,flac,"
    "aiff,au,dsf,iff,flv,avi,mpegts,mpeg"
)
_FFMPEG_OPTIONS = {"format_whitelist": AUDIO_FORMATS, "protocol_whitelist": "file"}
# libsndfile's length of a file that does not tell its own.
_UNKNOWN_SAMPLES = 2**62


class DecodingError(Exception):
    """The decoder met bytes that it cannot decode, after some that it could."""


@dataclass(frozen=True)
class DecodedAudio:
    """An open file: its rate, its length if the header states it, and its samples.

    ``promised_samples`` is per channel, and None where a header says nothing reliable.
    ``blocks`` are float32 of shape (samples, channels); reading them may raise DecodingError.
    """

    rate_hz: int
    promised_samples: int | None
    blocks: Iterator[np.ndarray]


class _SequentialFile(soundfile.SoundFile):
    """A file read once from its beginning to its end."""

    def seekable(self) -> bool:
        # Where it can, soundfile seeks after every read, to the place where it already is. That
        # throws away the mp3 decoder's bit reservoir and spoils what follows.
        return False


@contextmanager
def open_audio(path: Path) -> Iterator[DecodedAudio]:
    """Open ``path`` for decoding."""
    _check_file(path)
    try:
        # As bytes: a name need not be valid UTF-8.
        file = _SequentialFile(os.fsencode(path))
    except soundfile.LibsndfileError as error:
        refusal = error.error_string
    except TypeError:  # soundfile asks for the format of a file called *.raw
        refusal = "headerless samples"
    else:
        with file:
            yield DecodedAudio(file.samplerate, _promised_by_header(file), _sndfile_blocks(file))
        return
    with _open_with_ffmpeg(path, refusal.rstrip(".")) as audio:
        yield audio


def to_float(samples: np.ndarray) -> np.ndarray:
    """Integer or float samples as float32, integers scaled to [-1, 1); too large is infinite."""
    if samples.dtype.kind == "f":
        with np.errstate(over="ignore"):
            return samples.astype(np.float32, copy=False)
    half_range = 2.0 ** (8 * samples.dtype.itemsize - 1)
    scaled = samples.astype(np.float32) / np.float32(half_range)
    return scaled - np.float32(1) if samples.dtype.kind == "u" else scaled


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


def _promised_by_header(file: soundfile.SoundFile) -> int | None:
    if file.frames >= _UNKNOWN_SAMPLES:
        return None
    shortened = _SHORTENED.search(file.extra_info)
    if shortened is None:
        return int(file.frames)
    promised_bytes, present_bytes = int(shortened[1]), int(shortened[2])
    if promised_bytes >= _UNKNOWN_BYTES or present_bytes == 0:
        return None
    return int(file.frames * promised_bytes / present_bytes)


def _sndfile_blocks(file: soundfile.SoundFile) -> Iterator[np.ndarray]:
    while True:
        try:
            block = file.read(_BLOCK_SAMPLES, dtype="float32", always_2d=True)
        except soundfile.LibsndfileError as error:
            raise DecodingError(error.error_string.rstrip(".")) from None
        if not len(block):
            return
        yield block


@contextmanager
def _open_with_ffmpeg(path: Path, refusal: str) -> Iterator[DecodedAudio]:
    try:
        import av
    except ImportError:
        raise MissingDependencyError(
            f"{path}: libsndfile cannot read it ({refusal}). If it is m4a, aac or another format "
            "that FFmpeg knows: pip install 'muqrt[av]'"
        ) from None
    try:
        # The absolute path keeps a file named like a URL from being taken for one.
        container = av.open(str(path.absolute()), options=_FFMPEG_OPTIONS)
    except av.FFmpegError as error:
        raise _not_audio(path, f"libsndfile: {refusal}; FFmpeg: {error.strerror}") from None
    with container:
        if not container.streams.audio:
            raise _not_audio(path, "no audio track in it")
        track = container.streams.audio[0]
        frames = container.decode(track)
        try:
            first = next(frames, None)
        except av.FFmpegError as error:
            raise _not_audio(path, f"FFmpeg: {error.strerror}") from None
        # Only the first decoded frame knows the rate for sure: HE-AAC headers tell half of it.
        rate_hz = track.rate if first is None else first.sample_rate
        blocks = _ffmpeg_blocks(first, frames, rate_hz)
        yield DecodedAudio(rate_hz, _promised_by_index(container, rate_hz), blocks)


def _not_audio(path: Path, reason: str) -> AudioError:
    return AudioError(
        f"{path}: not audio, or damaged from the start ({reason}). Copy or download it again."
    )


def _promised_by_index(container: "av.container.InputContainer", rate_hz: int) -> int | None:
    # Only mp4 and its kin carry a true length of each track; elsewhere FFmpeg may be guessing.
    track = container.streams.audio[0]
    if "mp4" not in container.format.name or not track.duration or track.time_base is None:
        return None
    return int(track.duration * track.time_base * rate_hz)


def _ffmpeg_blocks(
    first: "av.AudioFrame | None", rest: "Iterator[av.AudioFrame]", rate_hz: int
) -> Iterator[np.ndarray]:
    import av

    gathered: list[np.ndarray] = []
    frame = first
    try:
        while frame is not None:
            if frame.sample_rate != rate_hz:
                raise DecodingError(f"the rate changes from {rate_hz} to {frame.sample_rate} Hz")
            samples = frame_samples(frame)
            # FFmpeg's frames are short, and their number of channels may change.
            full = sum(map(len, gathered)) + len(samples) > _BLOCK_SAMPLES
            if gathered and (full or gathered[-1].shape[1] != samples.shape[1]):
                yield np.concatenate(gathered)
                gathered = []
            gathered.append(samples)
            frame = next(rest, None)
    except av.FFmpegError as error:
        raise DecodingError(error.strerror) from None
    if gathered:
        yield np.concatenate(gathered)


def frame_samples(frame: "av.AudioFrame") -> np.ndarray:
    """FFmpeg's samples as float32 (samples, channels)."""
    samples = frame.to_ndarray()
    planar = frame.format.is_planar
    return to_float(samples.T if planar else samples.reshape(-1, frame.layout.nb_channels))
