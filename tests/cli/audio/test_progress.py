"""Progress is in seconds of audio: within a long file, and over files of any size."""

import os
import pty
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import soundfile

from muqrt.cli.audio import progress
from muqrt.cli.audio.progress import AudioProgress
from muqrt.common.console import Bar
from muqrt.runtime.audio.length import header_seconds
from muqrt.runtime.load import load
from muqrt.runtime.model import Model

RATE_HZ = 24_000
Shown = list[tuple[float, float | None]]


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> Shown:
    """What the bar has shown: how much is done, of how much."""
    found: Shown = []

    @contextmanager
    def bar(*arguments: object) -> Iterator[Bar]:
        yield Bar(lambda done, total, doing: found.append((done, total)))

    monkeypatch.setattr(progress, "progress", bar)
    return found


@pytest.fixture(scope="module")
def tiny_model(tiny_bundle: Path) -> Iterator[Model]:
    with load(tiny_bundle, threads=1) as model:
        yield model


def heard(model: Model, paths: Sequence[Path]) -> None:
    bar = AudioProgress(paths, model.framing)
    bar.collect("Embedding", model.embed_files(paths, bar.on_window), lambda item: item[0])


def test_a_long_track_moves_window_by_window(
    tiny_model: Model, tmp_path: Path, shown: Shown
) -> None:
    long = tmp_path / "long.wav"
    noise = np.random.default_rng(0).uniform(-0.1, 0.1, RATE_HZ * 150)
    soundfile.write(long, noise, RATE_HZ)
    heard(tiny_model, [long])
    done = [seconds for seconds, _ in shown]
    assert len(shown) >= 6 and done == sorted(done)
    assert max(np.diff(done)) <= 30
    assert all(total == pytest.approx(150, abs=0.1) for _, total in shown)
    assert shown[-1][0] == pytest.approx(150, abs=0.1)


def test_the_estimate_is_corrected_as_it_goes(
    tiny_model: Model, music: Path, tmp_path: Path, shown: Shown
) -> None:
    # The first wav has four times the bytes of the second a second; one cannot be read.
    samples = np.random.default_rng(0).uniform(-0.1, 0.1, RATE_HZ * 8)
    paths = [tmp_path / name for name in ("a.wav", "b.wav", "bad.wav", "song.flac", "c.wav")]
    soundfile.write(paths[0], samples, RATE_HZ, subtype="FLOAT")
    soundfile.write(paths[1], samples, RATE_HZ, subtype="PCM_U8")
    paths[2].write_bytes(b"no audio" * 9_000)
    shutil.copy(music / "greensleeves_duo.flac", paths[3])
    soundfile.write(paths[4], samples, RATE_HZ, subtype="PCM_U8")
    heard(tiny_model, paths)
    length = 3 * 8 + soundfile.info(paths[3]).duration
    assert shown[0][0] == 0 and shown[0][1] != pytest.approx(length, abs=1)
    done, total = shown[-1]
    assert done == pytest.approx(length, abs=0.1) == total
    assert all(total is not None and done <= total + 1e-9 for done, total in shown)


def test_headers(music: Path, tmp_path: Path) -> None:
    for path in sorted(music.glob("*.*")):
        if path.suffix in {".flac", ".mp3", ".ogg", ".wav"}:
            expected = soundfile.info(path).duration
            assert header_seconds(path) == pytest.approx(expected, abs=0.1)
    (tmp_path / "a.m4a").write_bytes(b"no audio")
    assert header_seconds(tmp_path / "a.m4a") is None
    assert header_seconds(tmp_path / "gone.wav") is None


def test_on_a_terminal(tiny_bundle: Path, tmp_path: Path) -> None:
    long = tmp_path / "long.wav"
    soundfile.write(long, np.random.default_rng(0).uniform(-0.1, 0.1, RATE_HZ * 90), RATE_HZ)
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "muqrt", "embed", str(long), "-b", str(tiny_bundle)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=theirs) as process:
        os.close(theirs)
        text = b""
        while True:
            try:
                text += os.read(ours, 65536)
            except OSError:  # the command has closed it
                break
    os.close(ours)
    assert process.returncode == 0
    assert b"0:00/1:30" in text and b"1:30/1:30" in text, text.decode()
