"""Every fused kernel of the released model for every GPU, compiled without one."""

import json
import signal
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict
from itertools import product
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..common.files import atomic_file
from ..common.interrupts import uninterrupted
from ..common.process.workers import end_with_parent, killed_when_stopped
from ..errors import MissingDependencyError
from .variant import Variant

if TYPE_CHECKING:
    from .ptx import Compiled

TARGETS = (80, 86, 89, 90, 100, 120)  # compute capabilities times ten
DTYPES = ("fp32", "fp16", "bf16")
TOKEN_DTYPES = ("i32", "i16")
# Of the released model, OpenMuQ/MuQ-large-msd-iter, in 32 bits as an ONNX node's attributes are.
MEAN_DB, STD_DB = (float(np.float32(value)) for value in (6.768444971712967, 18.417922652295623))
STAGES, CODES, WIDTH = 8, 1024, 512  # of its Mel-RVQ


def released_variants() -> list[Variant]:
    """What the released model needs: every kernel in every dtype, with its constants.

    Raises:
        MissingDependencyError: Triton is not installed.
    """
    try:
        from .log_mel import triton as log_mel_triton
        from .mel_rvq import quantized_triton as mel_rvq_quantized_triton
        from .mel_rvq import triton as mel_rvq_triton
    except ImportError as error:
        raise MissingDependencyError(
            f"Kernels are compiled by Triton ({error}): pip install 'muqrt[gpu]'"
        ) from error
    return [
        *(log_mel_triton.variant(dtype, MEAN_DB, STD_DB) for dtype in DTYPES),
        *(mel_rvq_triton.variant(*pair) for pair in product(DTYPES, TOKEN_DTYPES)),
        *(mel_rvq_quantized_triton.variant(each, WIDTH, STAGES, CODES) for each in TOKEN_DTYPES),
    ]


@contextmanager
def compiling(pairs: Sequence[tuple[str, int]]) -> Iterator[Iterator["Compiled"]]:
    """Compile kernels in several processes; the block gets each as it is ready, in order.

    The processes are forked when the block is entered, so enter it before starting a thread.

    Args:
        pairs: names of ``released_variants`` with compute capabilities times ten.

    Raises:
        KernelError: while iterating, what ``ptx_of`` raises.
    """
    # Forked: importing Triton again takes seconds.
    context = get_context("fork")
    with (
        ProcessPoolExecutor(mp_context=context, initializer=_start_worker) as pool,
        killed_when_stopped(pool),
    ):
        with uninterrupted():  # a fork runs hooks, in which an exception is printed and lost
            results = pool.map(_compile, *zip(*pairs, strict=True))
        yield results


def facts_of(compiled: "Compiled") -> dict[str, Any]:
    """What was measured of a compiled kernel, and the name of its file."""
    facts = asdict(compiled)
    del facts["ptx"]
    return facts | {"file": f"{compiled.name}.sm_{compiled.capability}.ptx"}


def write_kernels(folder: Path, compiled: Sequence["Compiled"]) -> None:
    """Write each kernel's PTX and, in ``kernels.json``, the facts of all."""
    for each in compiled:
        with atomic_file(folder / facts_of(each)["file"]) as file:
            file.write_text(each.ptx, encoding="utf-8")
    with atomic_file(folder / "kernels.json") as file:
        file.write_text(json.dumps([facts_of(each) for each in compiled], indent=1), "utf-8")


def _start_worker() -> None:
    """Leave signals to the first process, which reports them and ends this one."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    end_with_parent()


def _compile(name: str, capability: int) -> "Compiled":
    """In a process of the pool: kernels cannot be sent there, their names can."""
    from .ptx import ptx_of

    (variant,) = (each for each in released_variants() if each.name == name)
    return ptx_of(variant, capability)
