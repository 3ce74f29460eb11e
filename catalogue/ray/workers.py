"""Partitions computed by actors of a Ray cluster; one that dies is replaced.

Ray only places processes and says which of them have died. What is done, and which track ended a
process, is in the job's folder, so neither Ray's retries nor its checkpoints are used.
"""

import logging
import os
import sys
from collections.abc import Sequence
from contextlib import ExitStack, redirect_stdout
from dataclasses import dataclass
from time import monotonic
from typing import Any

from ...common.environment import import_extra
from ...errors import MuqrtError, UsageError
from ..job import Job
from ..loading import in_flight
from ..notes import Notes
from ..partition import Partition
from ..worker import LOADING_THREADS, Outcome, Worker
from ..workers import OnTrack, Workers

# How often it is looked whether nodes have come or gone.
_LOOK_SECONDS = 10.0
_log = logging.getLogger(__name__)


class _Actor:
    """What runs on a node: a job's worker. Errors are answers: Ray would wrap them."""

    def __init__(self, job: Job, options: dict[str, Any]) -> None:
        self._job, self._options = job, options

    def open(self) -> MuqrtError | None:
        """Open the model."""
        try:
            self._worker = Worker(self._job, **self._options)
        except MuqrtError as error:
            return error
        return None

    def run(self, partition: Partition) -> Outcome | MuqrtError:
        """Compute a partition."""
        return self._worker.answer(partition)


@dataclass(eq=False)
class _Placed:
    """An actor, which may not have its place in the cluster yet, with what it was given to do."""

    handle: Any
    partition: Partition | None = None
    is_ready: bool = False


class RayWorkers(Workers):
    """Actors in a Ray cluster that compute a job's partitions, each with its own model.

    Args:
        job: the job; its folder and bundle have to be within reach of every node.
        address: the cluster's, as ``ray.init`` takes it: "auto", "host:port", "ray://host:port", or
            "local" for a new one on this machine.
        count: how many; as many as the cluster has room for if None, also when it grows.
        cpus, gpus: what each is given; a part of a GPU lets several share it.
        options: of each ``Worker``.

    Raises:
        MissingDependencyError: Ray is not installed.
        UsageError: no cluster answers at the address.
    """

    _processes_name = "Ray's worker processes"

    def __init__(
        self,
        job: Job,
        address: str,
        count: int | None = None,
        cpus: int = 1,
        gpus: float = 0,
        **options: Any,
    ) -> None:
        self._ray: Any = import_extra("ray", "ray")
        super().__init__(job, options)
        self._wanted = count
        self._needs = {"CPU": float(cpus), "GPU": float(gpus)}
        self._actors: dict[Any, _Placed] = {}  # by what each one is doing
        self._idle: list[_Placed] = []
        self._room, self._looked = 1, -_LOOK_SECONDS
        self._held = ExitStack()
        # Ray prints on stdout, where results go, what it has to say of dead workers.
        self._held.enter_context(redirect_stdout(sys.stderr))
        try:
            self._connected = _connect(self._ray, address)
        except BaseException:
            self._held.close()
            raise
        self._kind = self._ray.remote(
            num_cpus=cpus, num_gpus=gpus, max_restarts=0, max_task_retries=0
        )(_Actor)

    def _assign(self) -> None:
        """Give partitions to actors that are ready, and ask Ray for more where there is room."""
        while self._todo and self._idle and not self._is_ending:
            actor = self._idle.pop()
            actor.partition = self._todo.popleft()
            self._actors[actor.handle.run.remote(actor.partition)] = actor
        coming = sum(not each.is_ready for each in self._actors.values())
        if self._is_ending or coming >= len(self._todo):
            return
        self._look()
        while coming < len(self._todo) and len(self._actors) < self._room:
            actor = _Placed(self._kind.remote(self._job, self._options))
            self._actors[actor.handle.open.remote()] = actor
            coming += 1

    def _look(self) -> None:
        """Find out how many actors the cluster has room for."""
        if self._wanted is not None:
            self._room = self._wanted
        elif monotonic() - self._looked >= _LOOK_SECONDS:
            self._looked = monotonic()
            has = self._ray.cluster_resources()
            fitting = [int(has.get(name, 0) / need) for name, need in self._needs.items() if need]
            if min(fitting) == 0 and not self._actors:
                asked = ", ".join(f"{need:g} {name}" for name, need in self._needs.items() if need)
                _log.warning("The Ray cluster has no room yet for a worker with %s.", asked)
            self._room = max(1, min(fitting))

    def _running(self) -> int:
        return sum(each.partition is not None for each in self._actors.values())

    def _wait(self) -> Sequence[Any]:
        done: list[Any] = self._ray.wait([*self._actors], timeout=_LOOK_SECONDS)[0]
        return done

    def _hear(self, answered: Any, on_track: OnTrack) -> None:
        actor = self._actors.pop(answered)
        try:
            answer = self._ray.get(answered)
        except self._ray.exceptions.RayError as error:
            self._died(actor, error)
            return
        partition, actor.partition = actor.partition, None
        if partition is not None:
            self._take(answer)
            for _ in range(partition.tracks if isinstance(answer, Outcome) else 0):
                on_track()
        elif answer is None:
            actor.is_ready = True
            self._is_open()
        else:
            raise answer
        self._idle.append(actor)

    def _died(self, actor: _Placed, error: Exception) -> None:
        """Put a dead actor's partition back."""
        self._looked = -_LOOK_SECONDS  # its node may have gone with it
        partition = actor.partition
        is_late = partition is not None and self._is_late(partition)
        self._put_back(partition, partition is None, is_late, str(error).splitlines()[0])

    def _is_late(self, partition: Partition) -> bool:
        """Whether no track can be blamed for the end of an attempt at a partition."""
        at_once = in_flight(self._options.get("loading_threads", LOADING_THREADS))
        return not Notes(self._job.folder, partition).history(at_once).suspects

    def close(self) -> None:
        """End the actors, by force if they are busy, and leave the cluster."""
        for each in (*self._actors.values(), *self._idle):
            self._ray.kill(each.handle)
        self._actors.clear()
        self._idle.clear()
        if self._connected:
            self._ray.shutdown()
        self._held.close()


def _connect(ray: Any, address: str) -> bool:
    """Join a cluster; False if this process is in one already."""
    if ray.is_initialized():
        return False
    # Ray would report to its makers, from here and from a cluster that it starts.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    if address == "local":
        options["include_dashboard"] = False
    try:
        ray.init(address, **options)
    except (ConnectionError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
        raise UsageError(
            f"--ray {address}: no Ray cluster that can be joined ({str(error).splitlines()[0]}). "
            "Start one with: ray start --head"
        ) from None
    return True
