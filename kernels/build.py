"""``muqrt build-kernels``: every fused kernel for every GPU, compiled without one."""

import json
import signal
import sys
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from itertools import product
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer

from ..common.console import Json, Table, progress, show
from ..common.files import atomic_file
from ..errors import MissingDependencyError, MuqrtError
from .variant import Variant

if TYPE_CHECKING:
    from .ptx import Compiled

TARGETS = (80, 86, 89, 90, 100, 120)  # compute capabilities times ten
DTYPES = ("fp32", "fp16", "bf16")
TOKEN_DTYPES = ("i32", "i16")
# Of the released model, OpenMuQ/MuQ-large-msd-iter, in 32 bits as an ONNX node's attributes are.
MEAN_DB, STD_DB = (float(np.float32(value)) for value in (6.768444971712967, 18.417922652295623))
STAGES, CODES, WIDTH = 8, 1024, 512  # of its Mel-RVQ

commands = typer.Typer()


def released_variants() -> list[Variant]:
    """What the released model needs: every kernel in every dtype, with its constants."""
    from .log_mel import triton as log_mel_triton
    from .mel_rvq import quantized_triton as mel_rvq_quantized_triton
    from .mel_rvq import triton as mel_rvq_triton

    return [
        *(log_mel_triton.variant(dtype, MEAN_DB, STD_DB) for dtype in DTYPES),
        *(mel_rvq_triton.variant(*pair) for pair in product(DTYPES, TOKEN_DTYPES)),
        *(mel_rvq_quantized_triton.variant(each, WIDTH, STAGES, CODES) for each in TOKEN_DTYPES),
    ]


@commands.command()
def build(
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Folder for the PTX and kernels.json.")
    ] = None,
    target: Annotated[
        list[int] | None, typer.Option(help="Compute capability such as 90; may be repeated.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Compile and measure the fused kernels; needs no GPU."""
    try:
        variants = released_variants()
    except ImportError as error:
        raise MissingDependencyError(
            f"Kernels are compiled by Triton ({error}): pip install 'muqrt[gpu]'"
        ) from error
    pairs = list(product([each.name for each in variants], target or TARGETS))
    compiled = []
    # Forked, so before the progress bar starts a thread: importing Triton again takes seconds.
    with ProcessPoolExecutor(mp_context=get_context("fork"), initializer=_leave_ctrl_c) as pool:
        results = pool.map(_compile, *zip(*pairs, strict=True))
        with progress("Compiling", len(pairs)) as bar:
            for each in results:
                compiled.append(each)
                bar.advance(f"{each.name} for sm_{each.capability}")
    if output:
        _write(output, compiled)
    columns = ["kernel", "GPU", "warps", "registers", "shared bytes", "spilled", "scratch"]
    rows = [_row(each) for each in compiled]
    facts = {"kernels": [_facts(each) for each in compiled]}
    show(as_json, facts, Table("Compiled kernels", columns, rows))


def _leave_ctrl_c() -> None:
    """To the first process: one of them speaks of it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _compile(name: str, capability: int) -> "Compiled":
    """In a process of the pool: kernels cannot be sent there, their names can."""
    from .ptx import ptx_of

    (variant,) = (each for each in released_variants() if each.name == name)
    return ptx_of(variant, capability)


def _row(each: "Compiled") -> list[object]:
    where = f"sm_{each.capability}"
    figures = (each.num_warps, each.registers, each.shared_bytes)
    return [each.name, where, *figures, each.spill_bytes, each.scratch_bytes]


def _facts(compiled: "Compiled") -> dict[str, Any]:
    facts = asdict(compiled)
    del facts["ptx"]
    return facts | {"file": f"{compiled.name}.sm_{compiled.capability}.ptx"}


def _write(folder: Path, compiled: list["Compiled"]) -> None:
    for each in compiled:
        with atomic_file(folder / _facts(each)["file"]) as file:
            file.write_text(each.ptx, encoding="utf-8")
    with atomic_file(folder / "kernels.json") as file:
        file.write_text(json.dumps([_facts(each) for each in compiled], indent=1), "utf-8")


if __name__ == "__main__":
    try:
        commands(prog_name="python -m muqrt.kernels.build")
    except (MuqrtError, OSError) as error:
        print(f"muqrt: {error}", file=sys.stderr)
        sys.exit(getattr(error, "exit_code", MuqrtError.exit_code))
