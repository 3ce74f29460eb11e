"""``muqrt bench kept-states``: every hop of every file, against the exact windows."""

import json
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import numpy as np
import pytest
import soundfile

Command = Callable[..., CompletedProcess[str]]


@pytest.fixture
def song(tmp_path: Path) -> Path:
    samples = np.random.default_rng(0).normal(0, 0.1, 24_000 * 4)
    soundfile.write(tmp_path / "song.wav", samples, 24_000)
    return tmp_path / "song.wav"


def test_hops_are_compared_with_exact_windows(
    muqrt: Command, tiny_checkpoint: Path, tiny_head: Path, song: Path, tmp_path: Path
) -> None:
    about = ("--head", tiny_head, "--seconds", 3.25, "-o", tmp_path / "found", "--json")
    done = muqrt("bench", "kept-states", tiny_checkpoint, song, *about)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    # Windows of 2 s end at 2.0, 2.5 and 3.0 s; the first has no states to keep.
    assert (report["audio"], report["hops"]) == (["song.wav"], 2)
    by_steps = {each["refreshed_steps"]: each for each in report["distances"]}
    assert [*by_steps] == [0, 12, 50, 125]
    for whole in (by_steps[50], by_steps[125]):  # a window is 50 steps
        assert min(whole["worst_cosines"]) > 0.999999 and max(whole["tag_changes"]) < 1e-4
    assert len(by_steps[0]["tag_changes"]) == 2
    assert max(by_steps[0]["tag_changes"]) > 1e-3 and report["shifted"][0] > 1e-3
    assert -1 < report["neighbours"][0] < 0.9999
    assert "| a hop's and 0 before |" in (tmp_path / "found.md").read_text()


def test_what_is_refused(
    muqrt: Command, tiny_checkpoint: Path, tiny_head: Path, song: Path
) -> None:
    done = muqrt("bench", "kept-states", tiny_checkpoint, song)
    assert done.returncode == 2 and "name one with --head" in done.stderr
    short = ("--head", tiny_head, "--seconds", 2.4)
    done = muqrt("bench", "kept-states", tiny_checkpoint, song, *short)
    assert done.returncode == 2 and "song.wav: give audio longer than 2.5 s" in done.stderr
