"""How long an audio file is, as far as its header says, without decoding it."""

import os
from pathlib import Path

import soundfile

from .readers.blocks import Refusal
from .readers.ffmpeg import open_with_ffmpeg
from .readers.quiet import quiet_libraries

_LONGEST_SECONDS = 24 * 3600.0


def header_seconds(path: Path) -> float | None:
    """A file's length in seconds, which may be a guess of the decoder's; None if its header does
    not tell, or there is no such audio."""
    seconds = _from_libsndfile(path) or _from_ffmpeg(path) or 0.0
    return seconds if 0 < seconds <= _LONGEST_SECONDS else None


def _from_libsndfile(path: Path) -> float | None:
    try:
        # By descriptor: libsndfile would look for companions of a path.
        with quiet_libraries(), soundfile.SoundFile(os.open(path, os.O_RDONLY)) as file:
            return float(file.frames / file.samplerate)
    except (soundfile.LibsndfileError, TypeError, OSError):
        return None


def _from_ffmpeg(path: Path) -> float | None:
    try:
        with open_with_ffmpeg(path) as audio:
            return audio.promised_seconds
    except (ImportError, Refusal, OSError):
        return None
