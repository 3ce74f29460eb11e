"""Where a build's time goes."""

from collections.abc import Callable
from time import perf_counter, process_time

from ...common.console import Table

_TOTAL, _REST = "total", "the rest"


class PartSeconds:
    """Adds up seconds by part, between one step and the next; called after each step.

    A part is what a step's name says before its colon: "parity" of "parity: song.mp3".

    Args:
        on_step: called with each step's name in turn.
        wall, processor: clocks, in seconds; the processor's counts all threads.
    """

    def __init__(
        self,
        on_step: Callable[[str], None],
        wall: Callable[[], float] = perf_counter,
        processor: Callable[[], float] = process_time,
    ) -> None:
        self._on_step, self._clocks = on_step, (wall, processor)
        self._parts: dict[str, list[float]] = {}
        self._last = [clock() for clock in self._clocks]

    def __call__(self, step: str) -> None:
        """Count the time since the last step to this one's part."""
        self._add(step.split(":")[0])
        self._on_step(step)

    def finish(self) -> dict[str, dict[str, float]]:
        """Return the ``wall`` and ``processor`` seconds of each part, of what came after the last
        step, and of all together."""
        self._add(_REST)
        totals = [sum(column) for column in zip(*self._parts.values(), strict=True)]
        return {
            part: dict(zip(("wall", "processor"), (round(x, 3) for x in seconds), strict=True))
            for part, seconds in {**self._parts, _TOTAL: totals}.items()
        }

    def _add(self, part: str) -> None:
        now = [clock() for clock in self._clocks]
        sums = self._parts.setdefault(part, [0.0, 0.0])
        for index, (time, before) in enumerate(zip(now, self._last, strict=True)):
            sums[index] += time - before
        self._last = now


def seconds_table(seconds: dict[str, dict[str, float]]) -> Table:
    """Make a table of what ``PartSeconds.finish`` returns."""
    rows = [
        [part, f"{each['wall']:.1f}", f"{each['processor']:.1f}"] for part, each in seconds.items()
    ]
    return Table("Seconds", ["part", "wall clock", "processor, all threads"], rows)
