"""Sound files with their bytes changed, and what becomes of them."""

from pathlib import Path

import numpy as np
import soundfile

from muqrt.errors import AudioError
from muqrt.runtime.audio import read as audio

from .odd_files import Heard, encoded, ffmpeg_samples, music, uncounted


def real_files() -> list[bytes]:
    """Short files of most kinds that libsndfile writes, and one that only FFmpeg reads.

    Not au: FFmpeg plays whatever follows the samples that its header counts.
    """
    stereo, mono, slow = music(1.5), music(1.5, channels=1), music(1.5, 22_050, 1)
    mp3 = encoded(stereo, bitrate_mode="VARIABLE")
    found = [mp3, uncounted(mp3), encoded(mono), encoded(slow, 22_050), uncounted(encoded(stereo))]
    found += [encoded(stereo, kind=kind) for kind in ("FLAC", "OGG VORBIS", "WAV", "AIFF", "CAF")]
    found += [encoded(mono, kind=kind) for kind in ("FLAC", "OGG VORBIS", "W64", "RF64")]
    found += [encoded(music(1.5, 48_000), 48_000, "OGG OPUS"), encoded(mono, kind="WAV IMA_ADPCM")]
    song = Path(__file__).parents[3] / "examples" / "audio" / "entertainer_rag.m4a"
    return [*found, song.read_bytes()]


def mutated(random: np.random.Generator, files: list[bytes]) -> bytes:
    """One file or several joined, with up to four changes."""
    content = b"".join(files[k] for k in random.integers(len(files), size=random.integers(1, 4)))
    for _ in range(random.integers(0, 5)):
        place = (
            int(random.integers(len(content))) if random.random() < 0.7 else random.integers(200)
        )
        size = int(2 ** random.uniform(0, 13))
        kind = random.integers(6)
        if kind == 0:
            content = content[:place] + random.bytes(size) + content[place:]
        elif kind == 1:
            content = content[:place] + bytes(size) + content[place + size :]
        elif kind == 2:
            content = content[:place] + content[place + size :]
        elif kind == 3:
            content = content[:place] + random.bytes(min(size, 8)) + content[place + min(size, 8) :]
        elif kind == 4:
            content = content[:place] + content[place : place + size] * 2 + content[place + size :]
        else:
            content = content[: max(100, len(content) - size * 8)]
    return content or b"\0"


def outcome(path: Path) -> str:
    """What becomes of a file: read, damaged or refused; ``less`` is less than FFmpeg reads without
    a word."""
    heard = Heard(1)
    try:
        found = audio.load(path, tolerance=heard.tolerance)
    except AudioError:
        return "refused"
    if heard.damages:
        return "damaged"
    try:
        lacking_seconds = (len(ffmpeg_samples(path)) - len(found)) / 24_000
    except Exception:  # FFmpeg through PyAV may refuse it altogether
        return "read"
    # An mp3's own count of padding may say up to 0.19 s.
    return "less" if lacking_seconds > 0.2 and not is_what_a_wav_counts(path, found) else "read"


def is_what_a_wav_counts(path: Path, found: np.ndarray) -> bool:
    """FFmpeg plays a second file's ``data`` behind a wav's as if it were the wav's own."""
    try:
        info = soundfile.info(path)
    except soundfile.LibsndfileError:
        return False
    counted_seconds: float = info.frames / info.samplerate
    return info.format in ("WAV", "WAVEX") and abs(len(found) / 24_000 - counted_seconds) < 0.01
