"""One graph, compiled for one kind of GPU after the other in a process of its own.

A compiler that crashes takes only that process along, and the parser's warnings, which it gives
once in a process, are each graph's own.
"""

import re
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import product
from multiprocessing import get_context
from pathlib import Path
from signal import SIG_IGN, SIGINT, signal

from ...errors import BuildError
from ...export.engines.tensorrt_rtx.compiler import Shapes, compile_for_rtx
from ...runtime.bundle.engine_options import RtxTarget

# Of messages: where in the library's sources they come from.
_SOURCE_LINE = re.compile(r"^\S+\.(?:cpp|hpp):\d+: ")

_CRASH = "The compiler's process ended without a message."


@dataclass(frozen=True)
class Outcome:
    """What became of a graph.

    Attributes:
        target: kind of GPU.
        shapes: "dynamic" or "fixed".
        processor_seconds: of the whole build, parsing included.
        engine_bytes: 0 where it was refused.
        refusal: why; empty where it was compiled.
        warnings: of parser and compiler, each once.
    """

    target: RtxTarget
    shapes: str
    processor_seconds: float
    engine_bytes: int
    refusal: str
    warnings: tuple[str, ...]


def outcomes(
    path: Path, profiles: dict[str, Shapes], targets: Sequence[RtxTarget]
) -> Iterator[Outcome]:
    """Compile a graph for each target, in each of its shapes."""
    with ExitStack() as stack:
        pool = stack.enter_context(_process())
        for (shapes, profile), target in product(profiles.items(), targets):
            try:
                yield pool.submit(_compiled, path, profile, target, shapes).result()
            except BrokenProcessPool:
                yield Outcome(target, shapes, 0.0, 0, _CRASH, ())
                pool = stack.enter_context(_process())


def _process() -> ProcessPoolExecutor:
    # Ctrl-C is the parent's; a build of seconds is not cut off.
    return ProcessPoolExecutor(1, get_context("spawn"), signal, (SIGINT, SIG_IGN))


def _compiled(path: Path, profile: Shapes, target: RtxTarget, shapes: str) -> Outcome:
    begun = time.process_time()
    size, refusal = 0, ""
    warnings: tuple[str, ...] = ()
    try:
        engine = compile_for_rtx(path, [target], [profile])
        size, warnings = len(engine.content), engine.warnings
    except BuildError as error:
        refusal = str(error).removeprefix(f"{path}: ")
    told = tuple(dict.fromkeys(_SOURCE_LINE.sub("", each) for each in warnings))
    return Outcome(target, shapes, time.process_time() - begun, size, refusal, told)
