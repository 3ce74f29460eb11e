"""Partitions computed by processes of this machine; one that dies is replaced."""

import logging
import multiprocessing
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from typing import Any

from ..common.closing import Closing
from ..common.interrupts import uninterrupted
from ..common.workers import end_with_parent, signals_left_to_parent
from ..errors import MuqrtError, SessionError, StorageError
from .job import Job
from .partition import Partition
from .worker import Outcome, Worker

# In a row, and then it is no accident.
_MOST_FAILURES = 3
_log = logging.getLogger(__name__)
OnTrack = Callable[[], None]


@dataclass
class Summary:
    """What a run has done.

    Attributes:
        outcomes: the partitions that were computed.
        deaths: how many processes ended in the midst of one.
        errors: why partitions could not be done.
        left: how many are not done.
    """

    outcomes: list[Outcome] = field(default_factory=list)
    deaths: int = 0
    errors: list[MuqrtError] = field(default_factory=list)
    left: int = 0


@dataclass(eq=False)
class _Process:
    """A worker's process, with what it was given to do."""

    process: Any
    connection: Connection
    partition: Partition | None = None
    is_ready: bool = False
    tracks: int = 0


class LocalWorkers(Closing):
    """Processes that compute a job's partitions, each with its own model.

    Args:
        job: the job.
        count: how many.
        options: of each ``Worker``.
    """

    def __init__(self, job: Job, count: int, **options: Any) -> None:
        self._job, self._count, self._options = job, count, options
        self._processes: list[_Process] = []
        self._todo: deque[Partition] = deque()
        self._early_deaths = self._failures = 0
        self._late_deaths = Counter[str]()
        self._stopping = False
        self._summary = Summary()

    def run(
        self,
        partitions: Sequence[Partition],
        on_track: OnTrack = lambda: None,
        on_stop: Callable[[int], None] = lambda running: None,
    ) -> Summary:
        """Compute partitions.

        Ctrl-C lets those that are running be finished, and begins no other.

        Args:
            partitions: which.
            on_track: called after each track.
            on_stop: called after Ctrl-C with how many partitions are running.

        Raises:
            MuqrtError: what makes every partition fail, such as another bundle.
            SessionError: the processes die before they can begin.
        """
        self._todo.extend(partitions)
        while True:
            try:
                with uninterrupted():
                    self._assign()
                busy = [each for each in self._processes if each.partition is not None]
                if not busy:
                    break
                ready = wait([each.connection for each in busy])
                with uninterrupted():
                    for each in busy:
                        if each.connection in ready:
                            self._hear(each, on_track)
            except KeyboardInterrupt:
                self._stopping = True
                on_stop(sum(each.partition is not None for each in self._processes))
        self._summary.left = len(self._todo) + len(self._summary.errors)
        return self._summary

    @property
    def was_stopped(self) -> bool:
        """Whether Ctrl-C ended the run."""
        return self._stopping

    def _assign(self) -> None:
        idle = [each for each in self._processes if each.partition is None]
        while self._todo and not self._stopping and self._failures < _MOST_FAILURES:
            if not idle and len(self._processes) == self._count:
                return
            process = idle.pop() if idle else self._started()
            process.partition, process.tracks = self._todo.popleft(), 0
            try:
                process.connection.send(process.partition)
            except OSError:  # it died while it had nothing to do
                self._died(process)

    def _started(self) -> _Process:
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        arguments = (self._job, theirs, self._options)
        started = context.Process(target=_work, args=arguments, name="muqrt catalogue worker")
        with signals_left_to_parent():
            started.start()
        theirs.close()
        self._processes.append(_Process(started, ours))
        return self._processes[-1]

    def _hear(self, process: _Process, on_track: OnTrack) -> None:
        try:
            message = process.connection.recv()
        except (EOFError, OSError):
            self._died(process)
            return
        if message == _READY:
            process.is_ready, self._early_deaths = True, 0
        elif message == _TRACK:
            process.tracks += 1
            on_track()
        elif isinstance(message, Outcome):
            process.partition, self._failures = None, 0
            self._summary.outcomes.append(message)
        elif isinstance(message, (StorageError, SessionError)) and process.is_ready:
            process.partition = None
            self._failures += 1
            self._summary.errors.append(message)
        else:
            raise message

    def _died(self, process: _Process) -> None:
        """Give a dead process's partition to another."""
        process.process.join()
        process.connection.close()
        self._processes.remove(process)
        partition = process.partition
        assert partition is not None
        self._todo.appendleft(partition)
        self._summary.deaths += 1
        code = process.process.exitcode
        if not process.is_ready:
            self._early_deaths += 1
        elif process.tracks == partition.tracks:
            self._late_deaths[partition.name] += 1
        if max(self._early_deaths, self._late_deaths[partition.name]) >= _MOST_FAILURES:
            raise SessionError(
                f"worker processes ended {_MOST_FAILURES} times before they had begun or when they "
                f"wrote a part (exit code {code}). If it is memory: give fewer --workers."
            )

    def close(self) -> None:
        """End the processes: those that are idle at once, the others by force."""
        for each in self._processes:
            if each.partition is None:
                each.connection.close()
            else:
                each.process.kill()
        for each in self._processes:
            each.process.join()
        self._processes.clear()


_READY, _TRACK = "ready", "track"


def _work(job: Job, connection: Connection, options: dict[str, Any]) -> None:
    """What a process does: open the model, then partitions as they come, until the pipe closes."""
    end_with_parent()
    try:
        with Worker(job, **options) as worker:
            connection.send(_READY)
            while True:
                try:
                    partition = connection.recv()
                except EOFError:
                    return
                try:
                    connection.send(worker.run(partition, lambda key: connection.send(_TRACK)))
                except (StorageError, SessionError) as error:
                    connection.send(error)
                except MuqrtError:
                    raise
                except Exception as error:  # another process would fail in the same way, for ever
                    _log.exception("Partition %s", partition.name)
                    what = f"{type(error).__name__}: {error}"
                    connection.send(SessionError(f"partition {partition.name}: {what}"))
    except MuqrtError as error:
        connection.send(error)
