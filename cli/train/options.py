"""What the training commands share: options, and the extra they need."""

from pathlib import Path
from typing import Annotated

import typer

from ...errors import MissingDependencyError

Corpus = Annotated[Path, typer.Argument(help="A folder of audio, or a JSONL manifest.")]
Output = Annotated[
    Path, typer.Option("--output", "-o", help="The run's folder. The same command goes on there.")
]
Steps = Annotated[int, typer.Option(min=1, help="Optimizer steps.")]
Batch = Annotated[int, typer.Option(min=1, help="Crops in a step, over all processes.")]
CropSeconds = Annotated[float, typer.Option(min=0.4, max=600, help="Length of a crop.")]
Shortest = Annotated[
    float | None,
    typer.Option(min=0.4, help="Skip shorter tracks; a crop by default. What is kept is repeated."),
]
Rate = Annotated[float, typer.Option(help="Peak learning rate.")]
Warmup = Annotated[int, typer.Option(min=0, help="Steps until the peak learning rate.")]
Seed = Annotated[int, typer.Option(min=0, help="Of weights, crops and masks.")]
Save = Annotated[int, typer.Option(min=1, help="Steps an interruption can cost.")]
Ema = Annotated[
    float | None, typer.Option(help="Average the weights with this decay, such as 0.999.")
]
Bf16 = Annotated[bool, typer.Option("--bf16", help="Autocast to bfloat16; the mel stays float32.")]
Accelerator = Annotated[str, typer.Option(help="auto, cpu or cuda.")]
Devices = Annotated[int, typer.Option(min=1, help="Processes on this machine, a GPU each.")]
Nodes = Annotated[int, typer.Option(min=1, help="Machines.")]
Workers = Annotated[int, typer.Option(min=0, help="Processes reading audio, for each process.")]
Size = Annotated[
    str, typer.Option("--config", help="large, small, mini, tiny, or a config.json's path.")
]


def require_extra() -> None:
    """Raise MissingDependencyError unless the training extra is installed."""
    try:
        import lightning_fabric  # noqa: F401
        import torch  # noqa: F401
    except ImportError:
        raise MissingDependencyError("training needs: pip install 'muqrt[train]'") from None
