"""What TensorRT's bindings have, and what our code does with them, written as JSON.

Run in a process of its own, with libraries in the place of TensorRT's that can do nothing: names
and signatures are the bindings' own all the same.
"""

import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import tensorrt_bindings as trt

sys.modules["tensorrt"] = trt  # a package that only renames it

import tensorrt_bindings.plugin as trtp  # noqa: E402

from muqrt.errors import MuqrtError  # noqa: E402
from muqrt.export.engines.tensorrt.build import engine_from_onnx  # noqa: E402
from muqrt.export.engines.tensorrt.progress import engine_progress  # noqa: E402
from muqrt.runtime.bundle.engine_options import EngineOptions  # noqa: E402
from muqrt.runtime.engines.tensorrt.library import message_log  # noqa: E402

DEPTH = 3  # of trt.ILogger.Severity.ERROR


def described(owner: Any, prefix: str, depth: int = DEPTH) -> dict[str, str]:
    """Every public name below ``owner``, with its documentation."""
    found = {}
    for name in dir(owner):
        if name.startswith("_") and name not in ("__init__", "__members__"):
            continue
        value = getattr(owner, name)
        found[f"{prefix}.{name}"] = str(getattr(value, "__doc__", "") or "")
        # An enum's member has all the others as its own.
        if depth > 1 and not isinstance(value, ModuleType) and isinstance(value, type):
            found |= described(value, f"{prefix}.{name}", depth - 1)
    return found


def refusal(graph: Path) -> str:
    try:
        engine_from_onnx(graph, EngineOptions(fused_kernels=False))
    except MuqrtError as error:
        return f"{type(error).__name__}: {error}"
    return ""


def main() -> None:
    steps: list[str] = []
    progress, log = engine_progress(trt, steps.append), message_log(trt)
    for severity in trt.ILogger.Severity.__members__.values():
        log.log(severity, severity.name)
    progress.phase_start("phase", None, 1)
    going_on = progress.step_complete("phase", 0)
    progress.phase_finish("phase")
    answers = {
        "version": trt.__version__,
        "names": described(trt, "trt") | described(trtp, "trtp"),
        "errors": list(log.errors),
        "steps": [steps, going_on],
        "refusal": refusal(Path(sys.argv[1])),
    }
    Path(sys.argv[2]).write_text(json.dumps(answers))  # TensorRT logs to stdout


if __name__ == "__main__":
    main()
