"""A job: what is computed of which tracks, in a folder that any machine can read and write.

JOB/job.json            what is computed, and by which artefact
JOB/manifest/*.parquet  the tracks; each row group is a partition
JOB/parts/NAME.parquet  a partition's results; it is done when this file is there
JOB/parts/NAME.jsonl    the tracks of it that failed, if any did
JOB/notes/NAME/*        which tracks have been begun in a partition that is not done
"""

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from os import PathLike
from typing import TYPE_CHECKING, Any, Literal

from pydantic import ValidationError

from ..common.environment import import_extra
from ..common.validation import first_problem
from ..errors import BundleError, UsageError
from ..runtime.audio.damage import MOST_LOST_SHARE
from ..runtime.bundle.record import Record, Sha256
from .partition import Partition, partition_name
from .storage import Folder

if TYPE_CHECKING:
    from ..runtime.model import Model

JOB_FILE, MANIFESTS, PARTS, NOTES = "job.json", "manifest", "parts", "notes"
PARTITIONS_KEY = b"muqrt.partitions"  # the metadata that names a manifest's row groups


class Recipe(Record):
    """All that the numbers of a job depend on.

    Attributes:
        format: the version of what parts hold.
        artefact_sha256: the artefact's digest.
        artefact, engine, precision: what the bundle says of it.
        window: for embeddings: what ``Model.embed`` takes.
        most_lost_share: how much of a file may be damaged.
        columns: what is computed of each track, with its shape and windows.
    """

    format: Literal[1] = 1
    artefact_sha256: Sha256
    artefact: str
    engine: str
    precision: str
    window: float | Literal["whole"] | None = None
    most_lost_share: float = MOST_LOST_SHARE
    columns: dict[str, dict[str, Any]]

    @property
    def digest(self) -> str:
        """One hash over all of it."""
        facts = json.dumps(self.model_dump(mode="json"), sort_keys=True)
        return hashlib.sha256(facts.encode()).hexdigest()


class JobFacts(Record):
    """What ``job.json`` says.

    Attributes:
        recipe: what is computed.
        bundle: the address of the bundle that it was planned with.
        sources: where the tracks were found.
        tracks: how many.
    """

    recipe: Recipe
    bundle: str
    sources: list[str]
    tracks: int


@dataclass(frozen=True)
class Job:
    """A job that has been planned. May be pickled: workers on other machines get it so.

    Attributes:
        folder: where it is.
        facts: what is computed.
    """

    folder: Folder
    facts: JobFacts

    @property
    def recipe(self) -> Recipe:
        """What is computed."""
        return self.facts.recipe

    @cached_property
    def manifests(self) -> list[str]:
        """The files that list its tracks: the first all of them, later ones some to try again."""
        return sorted(self.folder.names(MANIFESTS))

    @cached_property
    def partitions(self) -> list[Partition]:
        """Every partition of every manifest, in order; of later ones, tracks that failed before."""
        found: list[Partition] = []
        for name in self.manifests:
            with self._manifest(name) as opened:
                listed = json.loads(opened.metadata.metadata[PARTITIONS_KEY])
            found += [Partition(each, name, row, n) for row, (each, n) in enumerate(listed)]
        return found

    def keys(self, partition: Partition) -> list[str]:
        """A partition's tracks.

        Raises:
            UsageError: they are not those that it was named by.
        """
        with self._manifest(partition.manifest) as opened:
            found: list[str] = opened.read_row_group(partition.row_group)["key"].to_pylist()
        if partition_name(self.recipe.digest, partition.manifest, found) != partition.name:
            raise UsageError(
                f"{self.folder.file(MANIFESTS)}/{partition.manifest}: changed since the job was "
                "planned. Plan another job."
            )
        return found

    def manifest_keys(self, manifest: str) -> list[str]:
        """All tracks of a manifest."""
        with self._manifest(manifest) as opened:
            found: list[str] = opened.read()["key"].to_pylist()
        return found

    def done(self) -> dict[str, float]:
        """The names of the partitions that are done, with when: one listing, and all that resuming
        takes."""
        return {
            name.removesuffix(".parquet"): written_seconds
            for name, written_seconds in self.folder.names(PARTS).items()
            if name.endswith(".parquet")
        }

    def remaining(self) -> list[Partition]:
        """The partitions that are not done."""
        done = self.done()
        return [each for each in self.partitions if each.name not in done]

    def open_model(
        self, threads: int | None = None, device: str | None = None, bundle: str | None = None
    ) -> "Model":
        """The job's model, on this machine.

        Args:
            threads: for the engine.
            device: as for ``muqrt.load``.
            bundle: where the bundle is here, if it is elsewhere than where the job was planned.

        Raises:
            BundleError: the bundle there is another one.
        """
        from ..runtime.load import load

        where = bundle or self.facts.bundle
        model = load(where, self.recipe.artefact, threads, device=device)
        if model.session.artefact_sha256 != self.recipe.artefact_sha256:
            model.close()
            raise BundleError(
                f"{where}: not the bundle that {self.folder.address} was planned with; its numbers "
                "would be others. Name that bundle with --bundle, or plan another job."
            )
        return model

    @contextmanager
    def _manifest(self, name: str) -> Iterator[Any]:
        import_extra("catalogue", "pyarrow")
        from pyarrow import parquet

        with self.folder.open(f"{MANIFESTS}/{name}") as file:
            opened = parquet.ParquetFile(file, metadata=self._footers.get(name))
            self._footers[name] = opened.metadata
            yield opened

    @cached_property
    def _footers(self) -> dict[str, Any]:
        """Footers of the manifests that were opened: megabytes, where partitions are many."""
        return {}

    def __reduce__(self) -> Any:
        """Pickle without what has been read."""
        return Job, (self.folder, self.facts)


def open_job(folder: str | PathLike[str]) -> Job:
    """A job that was planned.

    Raises:
        UsageError: there is none, or another version's.
    """
    home = Folder.at(folder)
    try:
        document = home.read(JOB_FILE)
    except FileNotFoundError:
        raise UsageError(
            f"{home.address}: no job is here. Plan one with: muqrt catalogue plan"
        ) from None
    try:
        return Job(home, JobFacts.model_validate_json(document))
    except ValidationError as error:
        raise UsageError(f"{home.file(JOB_FILE)}: {first_problem(error)}.") from None
