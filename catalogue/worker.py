"""What computes partitions, whatever scheduled it: a process of this machine, Ray, Spark, Slurm."""

import logging
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..common.closing import Closing
from ..common.environment import cpu_name, gpu_names, installed, processor_kind
from ..errors import AudioError, MissingDependencyError, MuqrtError, SessionError, StorageError
from ..runtime.engines.cpus import bounded_threads, given_cpus, physical_cores
from .columns import COLUMNS
from .job import PARTS, Job
from .loading import FailedTrack, LoadedTrack, in_flight, load_track, loaded_ahead
from .notes import History, Notes
from .part import Row, commit, row_bytes, row_from
from .partition import Partition

if TYPE_CHECKING:
    from ..runtime.model import Model

LOADING_THREADS = 2
_log = logging.getLogger(__name__)
OnTrack = Callable[[str], None]


@dataclass(frozen=True)
class Outcome:
    """What a worker did with a partition.

    Attributes:
        name: the partition's.
        tracks: how many are in the part.
        failed: how many failed.
        again: how many had been begun by an earlier attempt, which did not end.
        was_done: somebody else had done it; nothing was computed.
    """

    name: str
    tracks: int
    failed: int
    again: int = 0
    was_done: bool = False


class Worker(Closing):
    """A job's model, open, and what computes partitions with it. One a process.

    Args:
        job: the job.
        threads: for the engine; parts name them.
        loading_threads: how many threads fetch and decode tracks meanwhile.
        device, bundle: as for ``Job.open_model``.

    Raises:
        BundleError: the bundle is not the job's.
    """

    def __init__(
        self,
        job: Job,
        threads: int | None = None,
        loading_threads: int = LOADING_THREADS,
        device: str | None = None,
        bundle: str | None = None,
    ) -> None:
        self.job = job
        self._loading_threads = loading_threads
        threads = bounded_threads(threads)
        self._model: Model = job.open_model(threads, device, bundle)
        self._scratch = tempfile.TemporaryDirectory(prefix="muqrt-")
        on_gpu = device not in (None, "cpu") or job.recipe.engine.startswith("tensorrt")
        gpus = ", ".join(gpu_names()) if on_gpu else None
        self._facts = {
            "muqrt": installed("muqrt"),
            "processor": gpus or cpu_name(),
            "processor_kind": gpus or processor_kind(),  # names alone do not tell
            "threads": threads or given_cpus() or physical_cores(),
        }

    def answer(
        self, partition: Partition, on_track: OnTrack = lambda key: None
    ) -> Outcome | MuqrtError:
        """``run`` for another process, with what went wrong as the answer: a SessionError, too,
        where it was not foreseen, since every other process would fail in the same way."""
        try:
            return self.run(partition, on_track)
        except MuqrtError as error:
            return error
        except Exception as error:
            _log.exception("Partition %s", partition.name)
            return SessionError(f"partition {partition.name}: {type(error).__name__}: {error}")

    def run(self, partition: Partition, on_track: OnTrack = lambda key: None) -> Outcome:
        """Compute a partition and write its part, whole or not at all.

        May be called for one that is done, or that another process computes at the same time: the
        file comes out the same.

        Args:
            partition: one of ``job.partitions``.
            on_track: called after each track, with its key.

        Raises:
            StorageError: the job's folder or none of the tracks could be reached.
            SessionError: the model failed for every track.
        """
        if self._is_done(partition):
            return Outcome(partition.name, 0, 0, was_done=True)
        notes = Notes(self.job.folder, partition)
        with notes.attempt():
            before = notes.history(in_flight(self._loading_threads))
            ordered = self._ordered(partition, before, notes, on_track)
            notes.finished()
            rows = [each for each in ordered if isinstance(each, Row)]
            failed = [each for each in ordered if isinstance(each, FailedTrack)]
            self._refuse_systematic(partition, rows, failed)
            if not self._is_done(partition):
                facts = {"partition": partition.name, **self._facts}
                commit(self.job.folder, partition.name, rows, failed, self.job.recipe, facts)
        notes.clear()
        return Outcome(partition.name, len(rows), len(failed), len(before.begun))

    def _ordered(
        self, partition: Partition, before: History, notes: Notes, on_track: OnTrack
    ) -> list[Row | FailedTrack]:
        """What becomes of a partition's tracks, in the manifest's order."""
        keys = self.job.keys(partition)
        results: dict[int, Row | FailedTrack] = {}
        for place, attempts in before.dead.items():
            reason = "ended its process each time it was tried, alone at last."
            results[place] = FailedTrack(keys[place], "died", reason, attempts)
            on_track(keys[place])
        for place, found in self._results(keys, before, notes):
            results[place] = found
            on_track(keys[place])
        return [results[place] for place in range(len(keys))]

    def _is_done(self, partition: Partition) -> bool:
        return self.job.folder.exists(f"{PARTS}/{partition.name}.parquet")

    def _results(
        self, keys: list[str], before: History, notes: Notes
    ) -> Iterator[tuple[int, Row | FailedTrack]]:
        """Each track by its place: suspects alone, with nothing else begun, and then the rest."""
        recipe, rate_hz = self.job.recipe, self._model.framing.sample_rate_hz
        scratch = Path(self._scratch.name)

        def load(place: int, alone: bool = False) -> LoadedTrack | FailedTrack:
            notes.begin(place, alone)
            return load_track(keys[place], rate_hz, recipe.most_lost_share, scratch)

        known = before.dead.keys() | before.suspects
        for place, note in before.kept.items():
            if (row := row_from(notes.read(note), self._facts)) is not None:
                known.add(place)
                yield place, row
        for place in before.suspects:
            track = load(place, alone=True)
            found = self._computed(track)
            if isinstance(track, LoadedTrack):
                track.discard()
            if isinstance(found, Row):
                notes.keep(place, row_bytes(found, self._facts))
            yield place, found
        rest = [place for place in range(len(keys)) if place not in known]
        with closing(loaded_ahead(rest, load, self._loading_threads)) as ahead:
            for place, track in ahead:
                yield place, self._computed(track)

    def _computed(self, track: LoadedTrack | FailedTrack) -> Row | FailedTrack:
        if isinstance(track, FailedTrack):
            return track
        window = self.job.recipe.window
        try:
            values = {
                name: COLUMNS[name].compute(self._model, track.audio, track.rate_hz, window)
                for name in self.job.recipe.columns
            }
        except (AudioError, MissingDependencyError) as error:
            reason = str(error).removeprefix("audio array: ").removeprefix(f"{track.audio}: ")
            return FailedTrack(track.key, "audio", reason)
        except SessionError as error:
            _log.warning("%s: %s", track.key, error)
            return FailedTrack(track.key, "model", str(error))
        return Row(track, values)

    def _refuse_systematic(
        self, partition: Partition, rows: list[Row], failed: list[FailedTrack]
    ) -> None:
        """Raise what is not the tracks' fault: it would be written down as if it were."""
        kinds = {each.kind for each in failed}
        if rows or len(kinds) != 1:
            return
        where = f"{self.job.folder.address}: partition {partition.name}"
        if kinds == {"storage"}:
            raise StorageError(f"{where}: none of its tracks could be read: {failed[0].reason}")
        if kinds == {"model"}:
            raise SessionError(f"{where}: the model failed for each track: {failed[0].reason}")

    def close(self) -> None:
        """Close the model."""
        self._model.close()
        self._scratch.cleanup()
