"""``--strict``, ``--partial``, and what the commands say of damaged files."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import numpy as np
import pytest
import soundfile

Command = Callable[..., CompletedProcess[str]]
RATE_HZ = 24_000


def cut(path: Path, seconds: float) -> Path:
    """A wav whose header promises 4 s and that has only so many."""
    soundfile.write(path, np.random.default_rng(0).uniform(-0.5, 0.5, 4 * RATE_HZ), RATE_HZ)
    os.truncate(path, 44 + 2 * round(seconds * RATE_HZ))
    return path


@pytest.mark.parametrize("command", ["embed", "tag"])
def test_damage_is_said_in_a_line_and_in_json(
    muqrt: Command, tagged_bundle: Path, tmp_path: Path, command: str
) -> None:
    path, whole = cut(tmp_path / "a.wav", 3.6), cut(tmp_path / "b.wav", 4)
    words = (command, path, whole, "-b", tagged_bundle)
    done = muqrt(*words)
    assert (done.returncode, done.stderr) == (0, "")
    said = f"DAMAGED {path}: 0.40 s of 4.00 s left out: its header promises 4.0 s"
    assert [line for line in done.stdout.splitlines() if "DAMAGED" in line] == [said]
    damaged, intact = json.loads(muqrt(*words, "--json").stdout)["results"]
    assert damaged["damage"] == {
        "lost_seconds": pytest.approx(0.4, abs=1e-3),
        "read_seconds": pytest.approx(3.6, abs=1e-3),
        "reason": "its header promises 4.0 s",
    }
    assert "damage" not in intact


def test_strict_refuses_and_partial_accepts(
    muqrt: Command, token_bundle: Path, tmp_path: Path
) -> None:
    path, half = cut(tmp_path / "a.wav", 3.6), cut(tmp_path / "b.wav", 2)
    words = ("tokens", path, half, "-b", token_bundle, "--json")

    def errors(*options: str) -> list[bool]:
        return ["error" in each for each in json.loads(muqrt(*words, *options).stdout)["results"]]

    assert errors() == [False, True]
    assert errors("--strict") == [True, True]
    assert errors("--partial") == [False, False]
    both = muqrt(*words, "--strict", "--partial")
    assert both.returncode == 2 and "contradict each other" in both.stderr


@pytest.mark.parametrize("command", ["embed", "tag", "stream"])
def test_one_channel_is_said_in_a_line_and_in_json(
    muqrt: Command, tagged_bundle: Path, tmp_path: Path, command: str
) -> None:
    left = np.random.default_rng(0).uniform(-0.5, 0.5, 4 * RATE_HZ)
    path, usual = tmp_path / "a.wav", tmp_path / "b.wav"
    soundfile.write(path, np.stack([left, -left], 1), RATE_HZ, subtype="FLOAT")
    soundfile.write(usual, np.stack([left, left], 1), RATE_HZ, subtype="FLOAT")
    rest = ["--fast"] if command == "stream" else []
    done = muqrt(command, path, "-b", tagged_bundle, *rest)
    assert (done.returncode, done.stderr) == (0, "")
    said = f"{path}: heard from one channel for 4.0 s, in which its channels cancel each other"
    assert said in done.stdout.splitlines()

    def facts(audio: Path) -> dict[str, object]:
        shown = muqrt(command, audio, "-b", tagged_bundle, *rest, "--json").stdout
        answer = json.loads(shown.splitlines()[-1])
        return answer if command == "stream" else answer["results"][0]

    assert facts(path)["one_channel_seconds"] == pytest.approx(4)
    assert "one_channel_seconds" not in facts(usual)


def test_search_says_it_too(muqrt: Command, mulan_bundle: Path, tmp_path: Path) -> None:
    folder = tmp_path / "music"
    folder.mkdir()
    left = np.random.default_rng(0).uniform(-0.5, 0.5, 2 * RATE_HZ)
    soundfile.write(folder / "b.wav", np.stack([left, -left], 1), RATE_HZ, subtype="FLOAT")
    cut(folder / "a.wav", 3.6)
    done = muqrt("search", folder, "-b", mulan_bundle, "--json")
    answer = json.loads(done.stdout)
    assert [each["audio"] for each in answer["damaged"]] == [str(folder / "a.wav")]
    assert answer["one_channel"] == [
        {"audio": str(folder / "b.wav"), "one_channel_seconds": pytest.approx(2)}
    ]
