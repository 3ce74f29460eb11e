"""Group windows of equal length into batches, while their results stay in order."""

from collections import deque
from collections.abc import Callable, Hashable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import ClassVar, TypeVar

import numpy as np

from ...errors import AudioError, MissingDependencyError
from ..audio.tracks import Track
from ..engines.session import Session
from .windows import Window

_Item = TypeVar("_Item")


def batches(
    items: Iterable[_Item], kind: Callable[[_Item], Hashable], size: int
) -> Iterator[list[_Item]]:
    """Items of one kind together, at most ``size`` of them, each kind in its items' order."""
    groups: dict[Hashable, list[_Item]] = {}
    for item in items:
        groups.setdefault(kind(item), []).append(item)
    for alike in groups.values():
        for first in range(0, len(alike), size):
            yield alike[first : first + size]


@dataclass(eq=False)
class Job:
    """One window of a track, the model's ``output`` wanted for it and, when done, the result.

    ``engine`` gives it for ``input``: the window's samples (samples,) or frames (steps, width),
    float32. ``result`` is float32 (steps, width) or (width,), or int32 (stages, steps), according
    to the output.
    """

    track: Track
    window: Window
    output: str
    engine: Session
    input: np.ndarray
    result: np.ndarray = field(init=False)
    done: bool = field(default=False, init=False)

    def finish(self, result: np.ndarray) -> None:
        """Store the result."""
        self.result, self.done = result, True


@dataclass(frozen=True, eq=False)
class Failure:
    """A track ended early, by this error."""

    track: Track
    error: AudioError | MissingDependencyError
    done: ClassVar[bool] = True


def run_in_batches(
    jobs: Iterable[Job | Failure], run: Callable[[list[Job]], None], batch_size: int
) -> Iterator[Job | Failure]:
    """Yield the jobs and failures in their order, the jobs with their results.

    Args:
        jobs: consumed lazily; at most twice ``batch_size`` are held.
        run: finishes the jobs it is given: at most ``batch_size`` of them, all of one engine,
            shape of input and output.
    """
    queue: deque[Job | Failure] = deque()
    for job in jobs:
        queue.append(job)
        alike = _waiting_like(job, queue)
        if len(alike) == batch_size:
            run(alike)
        if len(queue) == 2 * batch_size and not queue[0].done:
            # It has waited long enough, be its batch full or not.
            run(_waiting_like(queue[0], queue))
        while queue and queue[0].done:
            yield queue.popleft()
    while queue:
        if not queue[0].done:
            run(_waiting_like(queue[0], queue))
        yield queue.popleft()


def _waiting_like(example: Job | Failure, queue: Iterable[Job | Failure]) -> list[Job]:
    if isinstance(example, Failure):
        return []
    return [
        job
        for job in queue
        if isinstance(job, Job)
        and not job.done
        and job.output == example.output
        and job.engine is example.engine
        and job.input.shape == example.input.shape
    ]
