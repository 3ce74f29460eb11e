"""``muqrt watch`` while files appear, change, move and vanish, killed in between."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from random import Random
from subprocess import CompletedProcess
from typing import IO

import numpy as np
import pytest
import soundfile

from muqrt.runtime.load import load

pytest.importorskip("watchfiles")

Command = Callable[..., CompletedProcess[str]]
SETTLE_SECONDS = 0.5
PIECES = 4
FLAT_BYTES = 16 << 20


def tracks() -> dict[str, bytes]:
    """Files of different sizes, none a beginning of another, by their names."""
    generator, found = np.random.default_rng(0), {}
    for number in range(8):
        file = BytesIO()
        samples = generator.uniform(-0.3, 0.3, 6000 + 480 * number)
        soundfile.write(file, samples, 24_000, format="WAV")
        found[f"track {number}"] = file.getvalue()
    return found


class Library:
    """Music that changes, and what is known of each file.

    Attributes:
        files: the track that each holds.
        contents: how often each path was given a content.
        held_up: files that were written so slowly that they may be taken before they were complete.
    """

    def __init__(self, folder: Path, seed: int) -> None:
        self.folder, self._random, self._tracks = folder, Random(seed), tracks()
        self.files: dict[Path, str] = {}
        self.contents = Counter[Path]()
        self.held_up: set[Path] = set()
        self._number = 0

    def change(self) -> None:
        """Let something happen: mostly a new file."""
        kinds = [self._appear, self._change, self._replace, self._move, self._vanish]
        (kind,) = self._random.choices(kinds, [12, 1, 1, 2, 1])
        if self.files or kind == self._appear:
            kind()

    def _any(self) -> Path:
        return self._random.choice(list(self.files))

    def _appear(self) -> None:
        self._number += 1
        self._write(self.folder / f"album {self._number % 50}" / f"{self._number}.wav")

    def _change(self) -> None:
        self._write(self._any())

    def _replace(self) -> None:
        """As rsync and most programs do: under another name first."""
        path = self._any()
        temporary = path.with_suffix(".part.wav")
        self._write(temporary)
        self._rename(temporary, path)

    def _move(self) -> None:
        self._number += 1
        self._rename(self._any(), self.folder / f"moved {self._number % 7}" / f"{self._number}.wav")

    def _vanish(self) -> None:
        path = self._any()
        path.unlink()
        del self.files[path]

    def _rename(self, old: Path, new: Path) -> None:
        new.parent.mkdir(exist_ok=True)
        old.replace(new)
        self.files[new] = self.files.pop(old)
        self.contents[new] += 1
        self.held_up |= {new} if old in self.held_up else set()

    def _write(self, path: Path) -> None:
        name = self._random.choice([each for each in self._tracks if each != self.files.get(path)])
        content, latest = self._tracks[name], time.monotonic()
        path.parent.mkdir(parents=True, exist_ok=True)
        length = len(content) // PIECES + 1
        with path.open("wb") as file:
            for start in range(0, len(content), length):
                file.write(content[start : start + length])
                file.flush()
                previous, latest = latest, time.monotonic()
                if latest - previous > SETTLE_SECONDS / 2:
                    self.held_up.add(path)
        self.files[path] = name
        self.contents[path] += 1

    def expected(self, bundle: Path) -> dict[str, np.ndarray]:
        """Each track's embedding."""
        found = {}
        with load(bundle, threads=1) as model:
            for name, content in self._tracks.items():
                (self.folder.parent / "track.wav").write_bytes(content)
                found[name] = model.embed(self.folder.parent / "track.wav")
        return found


class Watching:
    """``muqrt watch`` in a process of its own, whose events are counted."""

    def __init__(self, library: Library, bundle: Path, results: Path, *options: object) -> None:
        settle = ("--settle-seconds", SETTLE_SECONDS, "--threads", 1, "--json")
        command = ["watch", library.folder, "-b", bundle, "-o", results, *settle, *options]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "muqrt", *map(str, command)],
            stdout=subprocess.PIPE,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        assert self._process.stdout is not None
        self._events: IO[bytes] = self._process.stdout

    def read(self, seen: list[dict[str, str]], most: float = float("inf")) -> int:
        """Add its events to those seen, until it ends or there are so many; returns how many."""
        before = len(seen)
        while len(seen) - before < most and (line := self._events.readline()).endswith(b"\n"):
            seen.append(json.loads(line))
        return len(seen) - before

    def kill(self, seen: list[dict[str, str]]) -> None:
        self._process.kill()
        self.read(seen)
        assert self._process.wait() == -signal.SIGKILL

    def end(self, seen: list[dict[str, str]]) -> None:
        self.read(seen)
        assert self._process.wait() == 0

    def memory_bytes(self) -> int:
        status = Path(f"/proc/{self._process.pid}/status").read_text()
        return int(status.split("VmRSS:")[1].split()[0]) * 1024


def check(library: Library, bundle: Path, results: Path, events: list[dict[str, str]]) -> None:
    """Every file that exists has the embedding of what it holds, and each was embedded once."""
    found = {path.relative_to(results) for path in results.rglob("*.npy")}
    assert found == {Path(f"{path.relative_to(library.folder)}.npy") for path in library.files}
    expected = library.expected(bundle)
    for path, track in library.files.items():
        embedding = np.load(results / f"{path.relative_to(library.folder)}.npy")
        np.testing.assert_allclose(embedding, expected[track], atol=1e-5)
    hurried = {str(path) for path in library.held_up}
    wrong = [each for each in events if each["type"] == "failed" or "damage" in each]
    assert [each for each in wrong if each["audio"] not in hurried] == []
    embedded = Counter(each["audio"] for each in events if each["type"] == "embedded")
    twice = {path for path, times in embedded.items() if times > library.contents[Path(path)]}
    assert twice <= hurried


def churn(bundle: Path, folder: Path, files: int, kills: int) -> None:
    library = Library(folder / "music", seed=0)
    library.folder.mkdir()
    results, events = folder / "results", list[dict[str, str]]()
    for _ in range(kills):
        watching = Watching(library, bundle, results)
        before = len(library.contents)
        while len(library.contents) - before < files // (kills + 1):
            library.change()
        watching.read(events, 1)
        watching.kill(events)
    while len(library.contents) < files:
        library.change()
    Watching(library, bundle, results, "--once").end(events)
    check(library, bundle, results, events)


def test_files_come_change_move_and_go(tiny_bundle: Path, tmp_path: Path) -> None:
    churn(tiny_bundle, tmp_path, 30, 1)


@pytest.mark.full
def test_ten_thousand_files_come_change_move_and_go(tiny_bundle: Path, tmp_path: Path) -> None:
    churn(tiny_bundle, tmp_path, 10_000, 9)


@pytest.mark.full
def test_memory_does_not_grow_with_the_library(tiny_bundle: Path, tmp_path: Path) -> None:
    library = Library(tmp_path / "music", seed=1)
    library.folder.mkdir()
    events, memory = list[dict[str, str]](), []
    watching = Watching(library, tiny_bundle, tmp_path / "results")
    for _ in range(6):
        for _ in range(500):
            library.change()
        watching.read(events, 300)
        memory.append(watching.memory_bytes())
    watching.kill(events)
    assert max(memory[2:]) < memory[1] + FLAT_BYTES, memory


def test_what_is_refused(muqrt: Command, music: Path, tmp_path: Path) -> None:
    for arguments, message in (
        ([music], "say where the embeddings go"),
        ([music, "-o", tmp_path / "a", "--index", tmp_path / "b"], "say where the embeddings go"),
        ([tmp_path / "none", "-o", tmp_path / "a"], "no such folder"),
        ([music, "-o", tmp_path / "a", "--window", "wide"], "give seconds, or whole"),
    ):
        done = muqrt("watch", *arguments, "--once")
        assert done.returncode == 2 and message in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_it_goes_on_with_what_embed_and_search_have_written(
    muqrt: Command, mulan_bundle: Path, music: Path, tmp_path: Path
) -> None:
    folder, index = shutil.copytree(music, tmp_path / "music"), tmp_path / "index"
    at_once = ("--once", "--settle-seconds", 0.1, "--poll-seconds", 1, "--json")
    done = muqrt("watch", folder, "-b", mulan_bundle, "--index", index, *at_once)
    assert {json.loads(line)["type"] for line in done.stdout.splitlines()} == {"embedded"}
    found = muqrt("search", folder, "piano", "-b", mulan_bundle, "--index", index, "--json")
    assert json.loads(found.stdout)["index"] == {"files": 4, "new": 0, "gone": 0, "unusable": 0}
    assert muqrt("embed", folder, "-b", mulan_bundle, "-o", tmp_path / "out").returncode == 0
    done = muqrt("watch", folder, "-b", mulan_bundle, "-o", tmp_path / "out", *at_once)
    assert (done.returncode, done.stdout) == (0, "")
