"""A stretch of a training without a break: where it ran, and how it is asked to end."""

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from types import FrameType
from typing import TYPE_CHECKING, Any

import torch

from ...common.environment import hardware_name
from ...common.interrupts import interrupt

if TYPE_CHECKING:
    from lightning_fabric import Fabric

_STOPPING = (signal.SIGTERM, signal.SIGINT)


@dataclass
class Piece:
    """What a stretch was trained with, and how long it took. Two runs whose pieces agree in all
    but their lengths and times have the same weights, bit for bit, on a CPU.

    Attributes:
        first_step, last_step: how many steps had been done before and after it.
        device: the processor's or GPU's name.
        vectors: the CPU's instructions that PyTorch uses, such as "AVX512".
        threads: of all its cores.
        precision: what was computed in: a CPU without bfloat16 takes float32.
        torch: its version.
        seconds: it took.
        waiting_seconds: of these, spent waiting for audio.
    """

    first_step: int
    last_step: int
    device: str
    vectors: str
    threads: int
    precision: str
    torch: str
    seconds: float = 0.0
    waiting_seconds: float = 0.0

    def facts(self) -> dict[str, Any]:
        """As it is stored."""
        return asdict(self)


def piece(first_step: int, threads: int, fabric: "Fabric") -> Piece:
    """The piece that begins here and now."""
    return Piece(
        first_step=first_step,
        last_step=first_step,
        device=hardware_name(fabric.device.type),
        vectors=torch.backends.cpu.get_cpu_capability(),
        threads=threads,
        precision=str(fabric._precision.precision),
        torch=torch.__version__,
    )


class Waiting:
    """Iterates, and adds up how long it waited for the next item."""

    def __init__(self, items: Iterator[Any]) -> None:
        self._items = items
        self.seconds = 0.0

    def __iter__(self) -> "Waiting":
        return self

    def __next__(self) -> Any:
        began = time.monotonic()
        item = next(self._items)
        self.seconds += time.monotonic() - began
        return item


@dataclass
class Stop:
    """``signal`` is the number of the signal that came, or None."""

    signal: int | None = None


@contextmanager
def stop_signals(listening: bool = True) -> Iterator[Stop]:
    """Note SIGTERM and Ctrl-C, so that the step can be finished and saved; the second one
    interrupts at once.

    Args:
        listening: false leaves the signals as they are.
    """
    stop = Stop()

    def note(number: int, frame: FrameType | None) -> None:
        if stop.signal is not None:
            interrupt(number, frame)
        stop.signal = number

    before = {each: signal.signal(each, note) for each in _STOPPING} if listening else {}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
