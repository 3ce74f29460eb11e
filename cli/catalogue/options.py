"""What several commands of ``muqrt catalogue`` take."""

from typing import Annotated

import typer

JobFolder = Annotated[
    str, typer.Argument(metavar="JOB", help="Folder of the job: a path, or an address as s3://...")
]
