"""``muqrt bench catalogue`` and ``bench search``, with few rows."""

import json
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest

Command = Callable[..., CompletedProcess[str]]
pytestmark = pytest.mark.full


def test_an_index_of_each_size(muqrt: Command, music: Path) -> None:
    pytest.importorskip("lancedb")
    done = muqrt("bench", "search", music, "--rows", 1000, "--rows", 2000, "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert [each["rows"] for each in found["indices"]] == [1000, 2000]
    for each in found["indices"]:
        assert each["recall_at_10"] > 0.9
        assert each["build_seconds"] > 0 and each["query_peak_bytes"] > 0


def test_the_costs_of_a_job(muqrt: Command, music: Path) -> None:
    pytest.importorskip("pyarrow")
    words = ["bench", "catalogue", music, "--tracks", 1000, "--rounds", 3, "--json"]
    found = json.loads(muqrt(*words).stdout)
    assert (found["tracks"], found["engines"]) == (1000, {})
    assert len(found["job_seconds"]) == 3
