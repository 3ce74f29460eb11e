"""Everything to prove and measure on a GPU, in one run.

Each step is a command of its own, so that one that fails, or a library that is missing, does not
keep the others from running. Artefacts of an earlier run are not built again.
"""

import json
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path

from ..runtime.bundle.manifest import MANIFEST, load_bundle

_PACKAGE = Path(__file__).parents[1]
_GPU_TESTS = (
    "kernels",
    "export/test_engine_on_gpu.py",
    "runtime/test_onnx_on_gpu.py",
    "runtime/test_torch_session.py",
)
_LAST_LINE_CHARACTERS = 100
LOG = "errors.log"


@dataclass(frozen=True)
class Step:
    """A command.

    Attributes:
        name: what it does.
        arguments: of ``python -m``.
        needs: packages without which it is skipped.
        makes: the artefact that it adds to the bundle; if it exists the step is skipped.
    """

    name: str
    arguments: Sequence[object]
    needs: tuple[str, ...] = ()
    makes: str | None = None


@dataclass(frozen=True)
class Result:
    """The outcome of a step: ``done``, ``skipped`` or ``failed``, and why."""

    step: str
    outcome: str
    seconds: float
    reason: str = ""


def steps(checkpoint: Path, bundle: Path, output: Path) -> Iterator[Step]:
    """All steps in order. A random checkpoint and the bundle are made where they are missing.

    Args:
        checkpoint: folder of the checkpoint.
        bundle: folder of the bundle.
        output: name of the benchmark's results, without suffix.
    """
    muqrt, of = "muqrt", ("--checkpoint", checkpoint)
    tests = [_PACKAGE / "tests" / each for each in _GPU_TESTS]
    yield Step("tests of kernels and engines", ["pytest", "-q", *tests], ("pytest",))
    if not checkpoint.exists():
        random = ("random-checkpoint", "--size", "large", "-o", checkpoint)
        yield Step("a random checkpoint of the released size", [muqrt, *random])
    if not (bundle / MANIFEST).exists():
        # Certified on the CPU.
        export = ("export", checkpoint, "--target", "any", "-o", bundle)
        yield Step("export", [muqrt, *export], ("onnx", "onnxruntime"))
    for engine, precision, needs in (
        ("torch", "fp16", ()),
        ("torch", "bf16", ()),
        ("onnxruntime", "fp16", ("onnx", "onnxruntime")),
        ("onnxruntime", "bf16", ("onnx", "onnxruntime")),
        ("tensorrt", "fp32", ("tensorrt", "cuda")),
        ("tensorrt", "fp16", ("tensorrt", "cuda")),
        ("tensorrt", "bf16", ("tensorrt", "cuda")),
    ):
        options: list[object] = ["--engine", engine, "--precision", precision]
        if engine == "tensorrt":
            options += ["--timing-cache", bundle.parent / "timing.cache", "--inspect"]
        name = f"{'onnx' if engine == 'onnxruntime' else engine}-{precision}"
        yield Step(f"build {name}", [muqrt, "build", bundle, *of, *options], needs, makes=name)
    to_bench = [muqrt, "bench", "model", bundle, *of, "--device", "cuda", "-o", output]
    yield Step("benchmark of the model", to_bench, ("onnx",))
    checkpoint = _PACKAGE / "reference" / "checkpoints" / "muq-mini"
    beside = output.with_name(f"kernels-{output.name}")
    to_bench = [muqrt, "bench", "kernels", checkpoint, "--device", "cuda", "-o", beside]
    yield Step("benchmark of the kernels", to_bench, ("triton",))


def run(step: Step, bundle: Path, log: Path) -> Result:
    """Run a step; its output goes to the terminal and its errors to the log."""
    missing = [each for each in step.needs if find_spec(each) is None]
    if missing:
        return Result(step.name, "skipped", 0.0, f"not installed: {', '.join(missing)}")
    if step.makes is not None and _has(bundle, step.makes):
        return Result(step.name, "skipped", 0.0, "there already")
    command = [sys.executable, "-m", *map(str, step.arguments)]
    began = time.perf_counter()
    with log.open("a+", encoding="utf-8") as errors:
        start = errors.tell()
        done = subprocess.run(command, stdout=sys.stderr, stderr=errors)
        seconds = time.perf_counter() - began
        if done.returncode == 0:
            return Result(step.name, "done", seconds)
        errors.seek(start)
        lines = errors.read().strip().splitlines() or [f"exit status {done.returncode}"]
    return Result(step.name, "failed", seconds, lines[-1][:_LAST_LINE_CHARACTERS])


def _has(bundle: Path, name: str) -> bool:
    """Whether the bundle has the artefact; TensorRT's names end with the kind of GPU."""
    if not (bundle / MANIFEST).exists():
        return False
    return any(each.name.startswith(name) for each in load_bundle(bundle).artefacts)


def run_all(every: Iterable[Step], bundle: Path, work: Path) -> Iterator[Result]:
    """Run the steps in order; write the results so far to ``work``/steps.json after each."""
    results = []
    for step in every:
        print(f"== {step.name}", file=sys.stderr, flush=True)
        results.append(run(step, bundle, work / LOG))
        # Written after each step, for a run that is interrupted.
        (work / "steps.json").write_text(json.dumps([asdict(each) for each in results], indent=1))
        yield results[-1]
