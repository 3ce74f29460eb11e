"""``muqrt bench build``: builds in processes of their own, and another version's by turns."""

import json
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from muqrt.benchmarks.build import _differing

Command = Callable[..., CompletedProcess[str]]
SOURCE = Path(__file__).parents[3]


def test_a_build_is_measured_and_the_bundle_stays_as_it_is(
    muqrt: Command, tiny_bundle: Path, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    before = {path.name: path.stat().st_mtime_ns for path in tiny_bundle.iterdir()}
    about = ("--checkpoint", tiny_checkpoint, "--precision", "int8-weights", "--json")
    done = muqrt("bench", "build", tiny_bundle, *about, "-o", tmp_path / "found")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    (found,) = report["found"]
    assert (found["precision"], found["code"], found["refusal"]) == ("int8-weights", "here", "")
    assert found["artefact"]["certificate"]["passed"] and found["artefact"]["seconds"]["total"]
    assert len(found["seconds"]) == len(found["processor_seconds"]) == 1
    assert 50e6 < found["peak_rss_bytes"][0] < 3e9
    assert report["differences"] == {}
    assert str(tiny_checkpoint) not in done.stdout
    assert "| int8-weights | here |" in (tmp_path / "found.md").read_text()
    assert {path.name: path.stat().st_mtime_ns for path in tiny_bundle.iterdir()} == before


@pytest.mark.full
def test_two_versions_take_turns(
    muqrt: Command, tiny_bundle: Path, tiny_checkpoint: Path, mulan_checkpoint: Path, tmp_path: Path
) -> None:
    about = ("--precision", "int8-weights", "--json", "--before", SOURCE)
    done = muqrt("bench", "build", tiny_bundle, "--checkpoint", tiny_checkpoint, *about)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert [each["code"] for each in report["found"]] == ["here", "before"]
    assert report["differences"] == {"int8-weights": []}
    # A build that is refused is a result.
    done = muqrt("bench", "build", tiny_bundle, "--checkpoint", mulan_checkpoint, *about)
    report = json.loads(done.stdout)
    assert done.returncode == 0 and report["differences"] == {}
    assert all("not the checkpoint" in each["refusal"] for each in report["found"])


def test_what_differs_is_named() -> None:
    ours = {"a": [1, {"b": 2.0}], "created": "now", "c": 3}
    theirs = {"a": [1, {"b": 2.5}], "created": "then", "d": 4}
    assert list(_differing(ours, theirs)) == ["a[1].b", "c", "d"]
    assert list(_differing(ours, {**ours, "created": "then"})) == []
    assert list(_differing({"a": [1]}, {"a": [1, 2]})) == ["a"]


@pytest.mark.parametrize(
    ("option", "value", "why"),
    [
        ("--precision", "int3", "--precision 'int3': choose among int8, int8-mixed, fp16"),
        ("--before", "examples", "--before examples: not a folder of muqrt's source"),
    ],
)
def test_wrong_options(
    muqrt: Command, tiny_bundle: Path, tiny_checkpoint: Path, option: str, value: str, why: str
) -> None:
    done = muqrt("bench", "build", tiny_bundle, "--checkpoint", tiny_checkpoint, option, value)
    assert done.returncode == 2 and why in " ".join(done.stderr.split())
