"""``muqrt build-kernels``."""

from itertools import product
from pathlib import Path
from typing import Annotated

import typer

from ...common.console import Json, Table, progress, show

commands = typer.Typer()


@commands.command("build-kernels")
def build_kernels(
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Folder for the PTX and kernels.json.")
    ] = None,
    target: Annotated[
        list[int] | None, typer.Option(help="Compute capability such as 90; may be repeated.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Compile and measure the fused kernels; needs no GPU."""
    from ...kernels.build import TARGETS, compiling, facts_of, released_variants, write_kernels

    names = [each.name for each in released_variants()]
    pairs = list(product(names, target or TARGETS))
    compiled = []
    with compiling(pairs) as results, progress("Compiling", len(pairs)) as bar:
        for each in results:
            compiled.append(each)
            bar.advance(f"{each.name} for sm_{each.capability}")
    if output:
        write_kernels(output, compiled)
    columns = ["kernel", "GPU", "warps", "registers", "shared bytes", "spilled", "scratch"]
    rows = [
        (
            each.name,
            f"sm_{each.capability}",
            *(each.num_warps, each.registers, each.shared_bytes),
            *(each.spill_bytes, each.scratch_bytes),
        )
        for each in compiled
    ]
    facts = {"kernels": [facts_of(each) for each in compiled]}
    show(as_json, facts, Table("Compiled kernels", columns, rows))
