"""Options that the benchmarks share."""

from pathlib import Path
from typing import Annotated

import typer

BundleFolder = Annotated[Path, typer.Argument(help="Folder that muqrt export wrote.")]
Source = Annotated[str, typer.Option(help="The checkpoint that the bundle was made from.")]
Threads = Annotated[
    int | None, typer.Option(min=1, help="CPU threads of each contender; all cores by default.")
]
Compiles = Annotated[
    bool, typer.Option("--compile/--no-compile", help="Measure torch.compile too.")
]
Output = Annotated[
    Path | None,
    typer.Option("--output", "-o", help="Write NAME.json, NAME.md and any charts.", metavar="NAME"),
]
