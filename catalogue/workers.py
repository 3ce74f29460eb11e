"""What is the same of all workers that compute a job's partitions, wherever their processes are."""

from abc import abstractmethod
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..common.closing import Closing
from ..common.interrupts import uninterrupted
from ..errors import MuqrtError, SessionError, StorageError
from .job import Job
from .partition import Partition
from .worker import Outcome

# In a row, and then it is no accident.
_MOST_FAILURES = 3
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


class Workers(Closing):
    """Processes that compute a job's partitions, each with its own model; one that dies is
    replaced.

    Args:
        job: the job.
        options: of each ``Worker``.
    """

    _processes_name = "worker processes"  # in errors

    def __init__(self, job: Job, options: dict[str, Any]) -> None:
        self._job, self._options = job, options
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
            on_track: called after each track, or for all of a partition when it is done.
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
                if not self._running() and (self._is_ending or not self._todo):
                    break
                answered = self._wait()
                with uninterrupted():
                    for each in answered:
                        self._hear(each, on_track)
            except KeyboardInterrupt:
                self._stopping = True
                on_stop(self._running())
        self._summary.left = len(self._todo) + len(self._summary.errors)
        return self._summary

    @property
    def was_stopped(self) -> bool:
        """Whether Ctrl-C ended the run."""
        return self._stopping

    @property
    def _is_ending(self) -> bool:
        return self._stopping or self._failures >= _MOST_FAILURES

    @abstractmethod
    def _assign(self) -> None:
        """Give partitions to processes that have none, and start more where there is room."""

    @abstractmethod
    def _running(self) -> int:
        """How many partitions are being computed."""

    @abstractmethod
    def _wait(self) -> Sequence[Any]:
        """Wait for processes to say something; what ``_hear`` takes of each that has."""

    @abstractmethod
    def _hear(self, answered: Any, on_track: OnTrack) -> None:
        """Take what a process has said."""

    def _is_open(self) -> None:
        """Note that a process has opened its model."""
        self._early_deaths = 0

    def _take(self, answer: Outcome | MuqrtError) -> None:
        """Note what ``Worker.answer`` gave.

        Raises:
            MuqrtError: what would make every partition fail.
        """
        if isinstance(answer, Outcome):
            self._failures = 0
            self._summary.outcomes.append(answer)
        elif isinstance(answer, (StorageError, SessionError)):
            self._failures += 1
            self._summary.errors.append(answer)
        else:
            raise answer

    def _put_back(
        self, partition: Partition | None, is_early: bool, is_late: bool, reason: str
    ) -> None:
        """Put a dead process's partition back, for another.

        Args:
            partition: what it was given to do, if anything.
            is_early: whether it died before its model was open.
            is_late: whether it had done all tracks of the partition.
            reason: how it died.

        Raises:
            SessionError: too many have died so, and no track can be blamed.
        """
        self._summary.deaths += 1
        late = 0
        if partition is not None:
            self._todo.appendleft(partition)
            self._late_deaths[partition.name] += is_late
            late = self._late_deaths[partition.name]
        self._early_deaths += is_early
        if max(self._early_deaths, late) >= _MOST_FAILURES:
            raise SessionError(
                f"{self._processes_name} ended {_MOST_FAILURES} times before they had begun or "
                f"when they wrote a part ({reason}). If it is memory: give fewer --workers."
            )
