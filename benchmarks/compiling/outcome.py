"""One graph, compiled for one kind of GPU after the other in a process of its own.

A compiler that crashes takes only that process along, and the parser's warnings, which it gives
once in a process, are each graph's own.
"""

import re
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import CancelledError
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from threading import Event

from ...common.process.workers import end_with_parent, signals_left_to_parent
from ...errors import BuildError
from ...export.engines.tensorrt_rtx.compiler import Shapes, compile_for_rtx
from ...runtime.bundle.engine_options import RtxTarget

# Of messages: where in the library's sources they come from.
_SOURCE_LINE = re.compile(r"^\S+\.(?:cpp|hpp):\d+: ")

_CRASH = "The compiler's process ended without a message."
_POLL_SECONDS = 0.1
# A kind of shapes by name, and a kind of GPU.
_Build = tuple[str, Shapes, RtxTarget]


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
    path: Path,
    profiles: dict[str, Shapes],
    targets: Sequence[RtxTarget],
    stopped: Event | None = None,
) -> Iterator[Outcome]:
    """Compile a graph for each target, in each of its shapes.

    Raises:
        CancelledError: ``stopped`` was set; the compiler's process has been killed.
    """
    left = [(name, shapes, target) for name, shapes in profiles.items() for target in targets]
    while left:
        with _process(path, left) as results:
            while left:
                shapes, _, target = left.pop(0)
                if (found := _next(results, stopped)) is None:
                    yield Outcome(target, shapes, 0.0, 0, _CRASH, ())
                    break
                yield found


@contextmanager
def _process(path: Path, builds: Sequence[_Build]) -> Iterator[Connection]:
    """A process that sends the builds' outcomes in order; it is killed when the block ends."""
    context = get_context("spawn")
    receiving, sending = context.Pipe(duplex=False)
    worker = context.Process(target=_send, args=(sending, path, builds), daemon=True)
    with receiving:
        with sending, signals_left_to_parent():
            worker.start()
        try:
            yield receiving
        finally:
            worker.kill()
            worker.join()


def _next(results: Connection, stopped: Event | None) -> Outcome | None:
    """None if the process has ended."""
    is_there = False
    while not is_there:
        if stopped is not None and stopped.is_set():
            raise CancelledError
        is_there = results.poll(_POLL_SECONDS)
    try:
        found = results.recv()
    except (EOFError, OSError):
        return None
    if isinstance(found, Exception):
        raise found
    assert isinstance(found, Outcome)
    return found


def _send(results: Connection, path: Path, builds: Sequence[_Build]) -> None:
    end_with_parent()
    with suppress(BrokenPipeError):  # the other process is no more
        try:
            for shapes, profile, target in builds:
                results.send(_compiled(path, profile, target, shapes))
        except Exception as error:
            results.send(error)


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
