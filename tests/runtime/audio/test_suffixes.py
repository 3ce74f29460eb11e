"""The suffixes of files that are taken from a folder."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from muqrt.runtime.audio import read as audio
from muqrt.runtime.audio.suffixes import decodable_suffixes

NOISE = np.random.default_rng(0).uniform(-0.5, 0.5, (48_000, 2)).astype(np.float32)


@pytest.mark.parametrize("suffix", [".aif", ".au", ".caf", ".flac", ".mp3", ".ogg", ".w64", ".wav"])
def test_libsndfile_decodes_its_suffixes(tmp_path: Path, without_av: None, suffix: str) -> None:
    assert suffix in decodable_suffixes()
    path = tmp_path / f"a{suffix}"
    soundfile.write(path, NOISE, 48_000, format={".aif": "AIFF"}.get(suffix))
    assert len(audio.load(path)) == 24_000


@pytest.mark.parametrize(
    ("suffix", "codec"),
    [(".mka", "aac"), (".m4b", "aac"), (".ac3", "ac3"), (".wv", "wavpack")],
)
def test_ffmpeg_decodes_its_suffixes(
    tmp_path: Path, write_with_ffmpeg: Callable[..., Path], suffix: str, codec: str
) -> None:
    assert suffix in decodable_suffixes()
    path = write_with_ffmpeg(tmp_path / f"a{suffix}", NOISE, 48_000, codec)
    assert len(audio.load(path)) == pytest.approx(24_000, abs=3_000)


def test_without_pyav_its_suffixes_are_left_out(without_av: None) -> None:
    assert not decodable_suffixes() & {".m4a", ".wma", ".mka", ".dsf", ".wv"}
