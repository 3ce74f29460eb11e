"""``muqrt bench gpu``."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from ...common.console import Json, Table, show
from ...errors import UsageError

commands = typer.Typer()


@commands.command()
def gpu(
    output: Annotated[
        Path,
        typer.Option("--output", "-o", help="Name of the results, without suffix.", metavar="NAME"),
    ],
    checkpoint: Annotated[
        Path | None,
        typer.Option(help="Checkpoint folder; default: random weights of the released size."),
    ] = None,
    work: Annotated[
        Path, typer.Option(help="Folder for the bundle, the logs and the timing cache.")
    ] = Path("build/gpu"),
    as_json: Json = False,
) -> None:
    """Test, build, prove and measure all that this GPU can run."""
    import torch

    from ...benchmarks.gpu import LOG, run_all, steps

    if not torch.cuda.is_available():
        raise UsageError(
            f"PyTorch {torch.__version__} finds no CUDA device. Check nvidia-smi, and that this is "
            "not PyTorch's CPU build."
        )
    work.mkdir(parents=True, exist_ok=True)
    output.parent.mkdir(parents=True, exist_ok=True)
    bundle = work / "bundle"
    wanted = steps(checkpoint or work / "checkpoint", bundle, output)
    results = list(run_all(wanted, bundle, work))
    rows = [[each.step, each.outcome, f"{each.seconds:.0f}", each.reason] for each in results]
    failed = any(each.outcome == "failed" for each in results)
    show(
        as_json,
        [asdict(each) for each in results],
        Table("On the GPU", ("step", "outcome", "seconds", "reason"), rows),
        f"All errors: {work / LOG}." if failed else "",
    )
    if failed:
        raise typer.Exit(1)
