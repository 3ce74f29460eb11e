"""The fast reader: libsndfile, for wav, flac, ogg, opus, mp3, aiff and their kin."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import soundfile

from .blocks import BLOCK_SAMPLES, PADDING_SECONDS, Block, DecodedAudio, DecodingError, Refusal
from .file_bytes import FileRange
from .quiet import quiet_libraries

# libsndfile shortens a cut file's length to what is there and tells the difference in its log.
_SHORTENED = re.compile(
    r"^\s*(?:data|SSND|Data Size|Riff size|riff)\s*: (\d+) \(should be (\d+)\)", re.MULTILINE
)
# A program that writes a wav into a pipe cannot know its length and writes one of the largest
# sizes instead: a promise of this many bytes is none.
_UNKNOWN_BYTES = 0x7FFF_F000
# libsndfile's length of a file that does not tell its own.
_UNKNOWN_SAMPLES = 2**62
_LOSSY = {"MP3", "OGG"}
_LOSSY_SUBTYPES = {"MPEG_LAYER_I", "MPEG_LAYER_II", "MPEG_LAYER_III"}  # in a wav, too


class _SequentialFile(soundfile.SoundFile):
    """A file read once from its beginning to its end, and nothing printed about it."""

    def __init__(self, file: int | FileRange) -> None:
        with quiet_libraries():
            super().__init__(file)
            if self.subtype == "OPUS":
                # Only a seek makes it skip the encoder's delay, of which 6.5 ms are usual.
                super().seek(0)

    def read(self, *arguments: Any, **options: Any) -> np.ndarray:
        with quiet_libraries():
            found: np.ndarray = super().read(*arguments, **options)
        return found

    def seekable(self) -> bool:
        # Where it can, soundfile seeks after every read, to the place where it already is. That
        # throws away the mp3 decoder's bit reservoir and spoils what follows.
        return False


@contextmanager
def open_with_libsndfile(file: int | FileRange) -> Iterator[DecodedAudio]:
    """Open a file for decoding.

    Args:
        file: a descriptor, which is closed, or a range of a file. Not a path: beside ``song.mp3``,
            libsndfile would take a ``._song.mp3``, which macOS leaves, for a part of it.

    Raises:
        Refusal: libsndfile does not know such files.
    """
    try:
        opened = _SequentialFile(file)
    except (soundfile.LibsndfileError, TypeError) as error:
        raise Refusal(getattr(error, "error_string", str(error)).rstrip(".")) from None
    with opened:
        # It guesses an mp3's length.
        is_mpeg = opened.format == "MP3"
        promise = None if is_mpeg else _promised_samples(opened)
        is_lossy = opened.format in _LOSSY or opened.subtype in _LOSSY_SUBTYPES
        yield DecodedAudio(
            None if promise is None else promise / opened.samplerate,
            PADDING_SECONDS if is_lossy else 0.5 / opened.samplerate,
            is_mpeg,
            _blocks(opened),
        )


def _promised_samples(file: soundfile.SoundFile) -> int | None:
    if file.frames >= _UNKNOWN_SAMPLES or file.frames == 0:
        return None
    shortened = _SHORTENED.search(file.extra_info)
    if shortened is None:
        return int(file.frames)
    promised_bytes, present_bytes = int(shortened[1]), int(shortened[2])
    if promised_bytes >= _UNKNOWN_BYTES or present_bytes == 0:
        return None
    return int(file.frames * promised_bytes / present_bytes)


def _blocks(file: soundfile.SoundFile) -> Iterator[Block]:
    while True:
        try:
            block = file.read(BLOCK_SAMPLES, dtype="float32", always_2d=True)
        except soundfile.LibsndfileError as error:
            raise DecodingError(error.error_string.rstrip(".")) from None
        if not len(block):
            return
        yield Block(block, file.samplerate)
