"""Where an artefact's time goes: ONNX Runtime's profile, by part of the model and operator."""

import json
import tempfile
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from ...runtime.bundle.manifest import Artefact, Bundle
from ..measure.contenders import onnx_session
from ..measure.parts import MEL, OTHER, part_of

_RUNS = 5
_SUFFIX = "_kernel_time"
_LOOP = "Loop"  # its time is that of the nodes in it, which are there themselves


@dataclass(frozen=True)
class OperatorTime:
    """All nodes of one operator in one part of the model: the mean over runs."""

    artefact: str
    part: str
    operator: str
    nodes: int
    seconds: float


def profile(
    bundle: Bundle, artefact: Artefact, threads: int, waveform: np.ndarray
) -> list[OperatorTime]:
    """Run an ONNX Runtime artefact on (batch, samples) and sum up where its time goes."""
    with tempfile.TemporaryDirectory() as folder:
        session = onnx_session(bundle.path(artefact.file), threads, Path(folder) / artefact.name)
        for _ in range(1 + _RUNS):
            session.run([artefact.outputs[0].name], {"waveform": waveform})
        events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
    return operator_times(artefact.name, events)


def operator_times(artefact: str, events: Sequence[dict[str, Any]]) -> list[OperatorTime]:
    """Sum up ONNX Runtime's profile without the first run, which warms up; longest first.

    Args:
        artefact: its name.
        events: of Chrome's trace format; ``dur`` in microseconds.
    """
    ends = [each["ts"] + each["dur"] for each in events if each["name"] == "model_run"]
    kernels = [each for each in events if each["name"].endswith(_SUFFIX) and each["ts"] >= ends[0]]
    microseconds: dict[tuple[str, str], list[int]] = defaultdict(list)
    runs = [[e for e in kernels if a <= e["ts"] < b] for a, b in pairwise(ends)]
    for run in runs:
        for part, operator, duration in _attributed(run):
            microseconds[part, operator].append(duration)
    found = [
        OperatorTime(artefact, *key, len(each) // len(runs), sum(each) / 1e6 / len(runs))
        for key, each in microseconds.items()
    ]
    return sorted(found, key=lambda each: -each.seconds)


def _attributed(run: list[dict[str, Any]]) -> list[tuple[str, str, int]]:
    """Part, operator and microseconds of every node.

    The mel is a function of the graph, whose nodes lose their names when it is inlined: it is what
    runs before the first node with a scope. Later ones without are ONNX Runtime's own, such as
    changes of layout.
    """
    found, nameless = [], MEL
    for event in sorted(run, key=lambda each: each["ts"]):
        if event["args"]["op_name"] == _LOOP:
            continue
        part = part_of(event["name"].removesuffix(_SUFFIX))
        if part is not None:
            nameless = OTHER
        found.append((part or nameless, event["args"]["op_name"], event["dur"]))
    return found
