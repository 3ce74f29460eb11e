"""A job planned: what it computes, and its manifests, cut into partitions."""

import json
from collections.abc import Iterable, Sequence
from io import BytesIO
from os import PathLike, fspath

from ..common.environment import import_extra
from ..errors import UsageError
from ..runtime.audio.damage import MOST_LOST_SHARE
from ..runtime.bundle.manifest import Bundle, load_bundle
from ..runtime.inference.windows import WindowLength
from .columns import COLUMNS
from .job import JOB_FILE, MANIFESTS, PARTITIONS_KEY, Job, JobFacts, Recipe
from .partition import partition_name
from .storage import Folder, absolute

PARTITION_TRACKS = 64


def recipe_of(
    bundle: Bundle,
    outputs: Sequence[str],
    artefact: str | None = None,
    window: WindowLength | None = None,
    most_lost_share: float = MOST_LOST_SHARE,
) -> Recipe:
    """What a job with this bundle computes.

    Raises:
        UsageError: no such output. BundleError: the artefact lacks one.
    """
    unknown = [each for each in outputs if each not in COLUMNS]
    if unknown or not outputs:
        raise UsageError(f"outputs {', '.join(outputs)!r}: give some of {', '.join(COLUMNS)}.")
    chosen = bundle.artefact(artefact)
    return Recipe(
        artefact_sha256=chosen.digest,
        artefact=chosen.name,
        engine=chosen.engine,
        precision=chosen.precision,
        window=window,
        most_lost_share=most_lost_share,
        columns={
            name: column.facts(bundle, chosen, window)
            for name, column in COLUMNS.items()
            if name in outputs
        },
    )


def plan_job(
    folder: str | PathLike[str],
    bundle: str | PathLike[str],
    recipe: Recipe,
    keys: Sequence[str],
    sources: Iterable[str] = (),
    partition_tracks: int = PARTITION_TRACKS,
) -> Job:
    """Write a new job.

    Args:
        folder: where: a path, or an address in a storage that can be written to.
        bundle: the bundle's folder, or hf://user/name.
        recipe: what is computed.
        keys: the tracks, each once.
        sources: where they were found.
        partition_tracks: how many of them are computed together and written as one part.

    Raises:
        UsageError: a job is there already.
    """
    home = Folder.at(folder)
    facts = JobFacts(
        recipe=recipe,
        bundle=absolute(bundle),
        sources=[absolute(each) for each in sources],
        tracks=len(keys),
    )
    if JOB_FILE in home.names("."):
        raise UsageError(
            f"{home.address}: holds a job already. Run it, or choose another folder for this one."
        )
    home.remove([f"{MANIFESTS}/{_manifest_file(1)}"])  # of a plan that was interrupted
    add_manifest(home, recipe, 1, keys, partition_tracks)
    home.write(JOB_FILE, facts.model_dump_json(indent=2).encode())
    return Job(home, facts)


def add_manifest(
    folder: Folder, recipe: Recipe, number: int, keys: Sequence[str], partition_tracks: int
) -> None:
    """Write a manifest, cut into partitions.

    Raises:
        FileExistsError: there is one of this number.
    """
    import_extra("catalogue", "pyarrow")
    import pyarrow
    from pyarrow import parquet

    name, rows = _manifest_file(number), BytesIO()
    starts = range(0, len(keys), partition_tracks)
    groups = (keys[start : start + partition_tracks] for start in starts)
    listed = [(partition_name(recipe.digest, name, each), len(each)) for each in groups]
    schema = pyarrow.schema(
        [pyarrow.field("key", pyarrow.string(), nullable=False)],
        metadata={PARTITIONS_KEY: json.dumps(listed)},
    )
    table = pyarrow.table([pyarrow.array(keys, pyarrow.string())], schema=schema)
    parquet.write_table(
        table,
        rows,
        row_group_size=partition_tracks,
        compression="zstd",
        use_dictionary=False,
        write_statistics=False,
    )
    folder.write_new(f"{MANIFESTS}/{name}", rows.getvalue())


def _manifest_file(number: int) -> str:
    return f"{number:04}.parquet"


def bundle_of(address: str | PathLike[str]) -> Bundle:
    """The bundle at a path or on the hub."""
    from ..runtime.hub.fetch import local_folder

    return load_bundle(fspath(local_folder(address)))
