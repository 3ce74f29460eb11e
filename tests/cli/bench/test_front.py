"""``muqrt bench front``: every way and length, with real processes."""

import json
from collections.abc import Callable
from itertools import product
from subprocess import CompletedProcess

import pytest

pytest.importorskip("uvicorn")

Command = Callable[..., CompletedProcess[str]]


def test_every_way_is_measured(muqrt: Command) -> None:
    done = muqrt("bench", "front", "--rounds", 3, "--starts", 2, "--json")
    assert done.returncode == 0, done.stderr
    timings = json.loads(done.stdout)["timings"]
    ways = [(each["protocol"], each["audio_seconds"], each["way"]) for each in timings]
    assert ways == list(product(("HTTP", "gRPC"), (1, 30), ("none", "relay", "front")))
    for each in timings:
        assert [len(start) for start in each["samples_seconds"]] == [3, 3]
        assert min(map(min, each["samples_seconds"])) > 0
