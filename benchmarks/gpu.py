"""Everything there is to prove and measure on a GPU, in one go: ``python -m muqrt.benchmarks.gpu``.

Each step is a command of its own, so that one that fails, or a library that is missing, does not
keep the others from running; at last it says what became of each. Artefacts that are there already,
from an earlier run, are not built again.
"""

import json
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from ..common.console import Json, show, table
from ..errors import UsageError
from ..runtime.bundle.manifest import MANIFEST, load_bundle

_PACKAGE = Path(__file__).parents[1]
_GPU_TESTS = (
    "kernels",
    "export/test_engine_on_gpu.py",
    "runtime/test_onnx_on_gpu.py",
    "runtime/test_torch_session.py",
)
_LAST_LINE_CHARACTERS = 100

commands = typer.Typer()


@dataclass(frozen=True)
class Step:
    """A command, and the Python packages without which it is left out.

    Attributes:
        name: for people.
        arguments: after ``python -m``.
        needs: packages.
        makes: an artefact that it adds to the bundle; where that is there already it is left out.
    """

    name: str
    arguments: Sequence[object]
    needs: tuple[str, ...] = ()
    makes: str | None = None


@dataclass(frozen=True)
class Result:
    """What became of a step: ``done``, ``skipped`` or ``failed``, and why."""

    step: str
    outcome: str
    seconds: float
    reason: str = ""


def steps(checkpoint: Path, bundle: Path, output: Path, price: float | None) -> Iterator[Step]:
    """All of them, in order. The bundle and, without a checkpoint, a random one are made."""
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
    priced = ["--price", price] if price is not None else []
    bench = ("bench", "model", bundle, *of, "--device", "cuda", "-o", output)
    yield Step("benchmark of the model", [muqrt, *bench, *priced], ("onnx",))
    kernels = ("bench", "kernels", _PACKAGE / "reference" / "checkpoints" / "muq-mini")
    beside = output.with_name(f"kernels-{output.name}")
    yield Step(
        "benchmark of the kernels", [muqrt, *kernels, "--device", "cuda", "-o", beside], ("triton",)
    )


def run(step: Step, bundle: Path, log: Path) -> Result:
    """Run one; what it prints goes to the terminal and its errors to the log."""
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
    """Whether the bundle has the artefact; TensorRT's names go on with the GPU's kind."""
    if not (bundle / MANIFEST).exists():
        return False
    return any(each.name.startswith(name) for each in load_bundle(bundle).artefacts)


@commands.command()
def gpu(
    output: Annotated[Path, typer.Option("--output", "-o", help="Name of the results.")],
    checkpoint: Annotated[
        Path | None, typer.Option(help="A folder; random weights of the released size by default.")
    ] = None,
    work: Annotated[
        Path, typer.Option(help="Where the bundle, the logs and the timing cache go.")
    ] = Path("build/gpu"),
    price: Annotated[float | None, typer.Option(help="Of an hour of this GPU.")] = None,
    as_json: Json = False,
) -> None:
    """Test, build, prove and measure everything that this machine's GPU can run."""
    import torch

    if not torch.cuda.is_available():
        raise UsageError(
            f"PyTorch {torch.__version__} finds no CUDA device. Check nvidia-smi, and that this is "
            "not PyTorch's CPU build."
        )
    work.mkdir(parents=True, exist_ok=True)
    output.parent.mkdir(parents=True, exist_ok=True)
    log, results = work / "errors.log", []
    bundle = work / "bundle"
    for step in steps(checkpoint or work / "checkpoint", bundle, output, price):
        print(f"== {step.name}", file=sys.stderr, flush=True)
        results.append(run(step, bundle, log))
        # Kept up to date: whoever interrupts it has what was done.
        (work / "steps.json").write_text(json.dumps([asdict(each) for each in results], indent=1))
    rows = [[each.step, each.outcome, f"{each.seconds:.0f}", each.reason] for each in results]
    show(
        as_json,
        [asdict(each) for each in results],
        table("On the GPU", ("step", "", "seconds", "why"), rows),
        f"Errors, in full: {log}." if any(each.outcome == "failed" for each in results) else "",
    )
    if any(each.outcome == "failed" for each in results):
        raise typer.Exit(1)


if __name__ == "__main__":
    from ..errors import MuqrtError

    try:
        commands()
    except MuqrtError as error:
        print(error, file=sys.stderr)
        sys.exit(error.exit_code)
