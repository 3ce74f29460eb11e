"""Partitions computed by processes of this machine; one that dies is replaced."""

import multiprocessing
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import Any

from ..common.process.workers import end_with_parent, signals_left_to_parent
from ..errors import MuqrtError
from .job import Job
from .partition import Partition
from .worker import Worker
from .workers import OnTrack, Workers


@dataclass(eq=False)
class _Process:
    """A worker's process, with what it was given to do."""

    process: Any
    connection: Connection
    partition: Partition | None = None
    is_ready: bool = False
    tracks: int = 0


class LocalWorkers(Workers):
    """Processes of this machine that compute a job's partitions, each with its own model.

    Args:
        job: the job.
        count: how many.
        options: of each ``Worker``.
    """

    def __init__(self, job: Job, count: int, **options: Any) -> None:
        super().__init__(job, options)
        self._count = count
        self._processes: list[_Process] = []

    def _assign(self) -> None:
        idle = [each for each in self._processes if each.partition is None]
        while self._todo and not self._is_ending:
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

    def _busy(self) -> list[_Process]:
        return [each for each in self._processes if each.partition is not None]

    def _running(self) -> int:
        return len(self._busy())

    def _wait(self) -> Sequence[_Process]:
        busy = self._busy()
        ready = wait([each.connection for each in busy])
        return [each for each in busy if each.connection in ready]

    def _hear(self, answered: _Process, on_track: OnTrack) -> None:
        try:
            message = answered.connection.recv()
        except (EOFError, OSError):
            self._died(answered)
            return
        if message == _READY:
            answered.is_ready = True
            self._is_open()
        elif message == _TRACK:
            answered.tracks += 1
            on_track()
        elif answered.is_ready:
            answered.partition = None
            self._take(message)
        else:
            raise message

    def _died(self, process: _Process) -> None:
        """Give a dead process's partition to another."""
        process.process.join()
        process.connection.close()
        self._processes.remove(process)
        partition = process.partition
        assert partition is not None
        is_late = process.is_ready and process.tracks == partition.tracks
        reason = f"exit code {process.process.exitcode}"
        self._put_back(partition, not process.is_ready, is_late, reason)

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
                connection.send(worker.answer(partition, lambda key: connection.send(_TRACK)))
    except MuqrtError as error:
        connection.send(error)
