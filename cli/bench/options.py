"""Options that several benchmarks have."""

from pathlib import Path
from typing import Annotated

import typer

ReportName = Annotated[
    Path | None,
    typer.Option("--output", "-o", help="Write NAME.json and NAME.md.", metavar="NAME"),
]
