"""What ``muqrt build --engine tensorrt`` is told: the options of an engine, as the command line has
them."""

from pathlib import Path
from typing import Annotated, Any, Literal

import typer


def _option(*names: str, help: str) -> Any:
    return typer.Option(*names, help=help, rich_help_panel="TensorRT")


WindowSeconds = Annotated[
    str | None,
    _option(
        help="Shortest, likeliest and longest waveform, as 5,10,30, or one number; 0.043,10,30 by "
        "default."
    ),
]
Batch = Annotated[
    str | None,
    _option(help="Smallest, likeliest and largest batch, or one number; 1,8,32 by default."),
]
Plugins = Annotated[
    bool | None,
    _option(
        "--plugins/--no-plugins",
        help="muqrt's kernels for the mel and the tokens, or TensorRT's own.",
    ),
]
HardwareCompatibility = Annotated[
    Literal["none", "ampere_plus", "same_compute_capability"] | None,
    _option(help="Other GPUs it shall run on."),
]
VersionCompatible = Annotated[
    bool, _option("--version-compatible", help="Later TensorRTs run it too.")
]
Refit = Annotated[bool, _option("--refit", help="Its weights can be replaced later.")]
Strip = Annotated[
    bool,
    _option(
        "--strip",
        help="A small plan, whose weights are put back from the ONNX graph when it is loaded.",
    ),
]
WeightStreaming = Annotated[
    bool,
    _option("--weight-streaming", help="Weights may stay in the host's memory while it runs."),
]
TimingCache = Annotated[
    Path | None, _option(help="Measurements, read and written: the next build is shorter.")
]
Inspect = Annotated[
    bool,
    _option("--inspect", help="What became of every layer, as JSON beside the plan."),
]
