"""Options of ``muqrt build --engine tensorrt``."""

from pathlib import Path
from typing import Annotated, Any, Literal

import typer


def _option(*names: str, help: str) -> Any:
    return typer.Option(*names, help=help, rich_help_panel="TensorRT")


WindowSeconds = Annotated[
    str | None,
    _option(
        help="Shortest, typical and longest waveform, for example 5,10,30, or one number; "
        "0.043,10,30 by default."
    ),
]
Batch = Annotated[
    str | None,
    _option(help="Smallest, typical and largest batch, or one number; 1,8,32 by default."),
]
Plugins = Annotated[
    bool | None,
    _option(
        "--plugins/--no-plugins",
        help="Use muqrt's kernels for the mel and the tokens, or TensorRT's own.",
    ),
]
HardwareCompatibility = Annotated[
    Literal["none", "ampere_plus", "same_compute_capability"] | None,
    _option(help="Other GPUs to support."),
]
VersionCompatible = Annotated[
    bool,
    _option("--version-compatible", help="Build an engine that later TensorRT versions can run."),
]
Refit = Annotated[
    bool, _option("--refit", help="Build an engine whose weights can be replaced later.")
]
Strip = Annotated[
    bool,
    _option(
        "--strip",
        help="Write a plan without weights; loading takes them from the ONNX graph.",
    ),
]
WeightStreaming = Annotated[
    bool,
    _option(
        "--weight-streaming", help="Allow weights to stay in host memory while the engine runs."
    ),
]
TimingCache = Annotated[
    Path | None,
    _option(help="File of layer timings to read and update; makes the next build shorter."),
]
Inspect = Annotated[
    bool,
    _option(
        "--inspect", help="Write TensorRT's description of every layer as JSON beside the plan."
    ),
]
