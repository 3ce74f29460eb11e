"""Partitions computed by a worker: right, whole, and the same after any death."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile

import muqrt
from muqrt.common.environment import cpu_name, processor_kind
from muqrt.errors import BundleError, StorageError, UsageError
from muqrt.runtime.bundle.shipped import SHIPPED_BUNDLE
from muqrt.runtime.engines.cpus import given_cpus, physical_cores

parquet = pytest.importorskip("pyarrow.parquet")
pytest.importorskip("fsspec")

from muqrt.catalogue import worker as worker_module  # noqa: E402
from muqrt.catalogue.job import Job, open_job  # noqa: E402
from muqrt.catalogue.manifest import find_keys  # noqa: E402
from muqrt.catalogue.notes import Notes  # noqa: E402
from muqrt.catalogue.part import failures  # noqa: E402
from muqrt.catalogue.planning import bundle_of, plan_job, recipe_of  # noqa: E402
from muqrt.catalogue.status import failed_tracks, retry_failed, status_of  # noqa: E402
from muqrt.catalogue.worker import Worker  # noqa: E402

PARTITION_TRACKS = 4


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six short tracks, one file that is no audio and a list of them all with one that is not
    there."""
    folder, generator = tmp_path_factory.mktemp("library"), np.random.default_rng(0)
    for number in range(6):
        samples = generator.uniform(-0.3, 0.3, 12_000 + 4_800 * number)
        soundfile.write(folder / f"track {number}.flac", samples, 24_000)
    (folder / "bad.flac").write_bytes(b"no audio")
    names = [*sorted(path.name for path in folder.glob("*.flac")), "gone.flac"]
    (folder / "list.csv").write_text("\n".join(["title,audio", *(f"t,{each}" for each in names)]))
    return folder


@pytest.fixture(scope="module")
def keys(library: Path) -> list[str]:
    return find_keys([str(library / "list.csv")]).keys


@pytest.fixture
def job(keys: list[str], tmp_path: Path) -> Job:
    """A job of two partitions."""
    recipe = recipe_of(bundle_of(SHIPPED_BUNDLE), ["tokens", "embedding", "tags"])
    plan_job(tmp_path / "job", SHIPPED_BUNDLE, recipe, keys, partition_tracks=PARTITION_TRACKS)
    return open_job(tmp_path / "job")


@pytest.fixture(scope="module")
def computed(keys: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same, computed. Do not change its files."""
    folder = tmp_path_factory.mktemp("computed") / "job"
    recipe = recipe_of(bundle_of(SHIPPED_BUNDLE), ["tokens", "embedding", "tags"])
    job = plan_job(folder, SHIPPED_BUNDLE, recipe, keys, partition_tracks=PARTITION_TRACKS)
    with Worker(job, 1) as worker:
        for partition in job.remaining():
            worker.run(partition)
        assert worker.run(job.partitions[0]).was_done
    return folder


@pytest.fixture
def done_job(computed: Path, tmp_path: Path) -> Job:
    """A copy of it."""
    return open_job(shutil.copytree(computed, tmp_path / "done"))


def part(job: Job, name: str) -> Path:
    return Path(job.folder.file(f"parts/{name}.parquet"))


def test_every_track_is_there_once_with_the_numbers_of_embed(
    done_job: Job, keys: list[str]
) -> None:
    job = done_job
    assert len(job.partitions) == 2
    assert not job.remaining()
    found = [parquet.read_table(part(job, each.name)) for each in job.partitions]
    rows = [row for table in found for row in table.to_pylist()]
    with muqrt.load(threads=1) as model:
        for row in rows:
            assert np.array_equal(np.float32(row["embedding"]), model.embed(row["key"]))
            assert np.array_equal(np.int32(row["tokens"]), model.tokens(row["key"]))
            assert np.array_equal(np.float32(row["tags"]), model.tag(row["key"]).scores)
            assert row["duration_seconds"] == soundfile.info(row["key"]).duration
    failed = failed_tracks(job)
    assert {Path(key).name: each.kind for key, each in failed.items()} == {
        "bad.flac": "audio",
        "gone.flac": "missing",
    }
    assert sorted([*failed, *(row["key"] for row in rows)]) == sorted(keys)
    facts = json.loads(found[0].schema.metadata[b"muqrt"])
    assert facts["threads"] == 1 and facts["processor"] == cpu_name()
    assert facts["processor_kind"] == processor_kind()
    status = status_of(job)
    assert (status.done, status.failed, status.to_do) == (6, {"audio": 1, "missing": 1}, 0)


def test_a_track_that_kills_its_process_is_found_and_the_rest_computed(job: Job) -> None:
    partition = job.partitions[0]
    Notes(job.folder, partition).begin(0)
    for place in range(3):
        Notes(job.folder, partition).begin(place)
    for _ in range(2):
        Notes(job.folder, partition).begin(1, alone=True)
    begun = []
    with Worker(job, 1) as worker:
        outcome = worker.run(partition, begun.append)
    assert (outcome.tracks, outcome.failed, outcome.again) == (2, 2, 3)
    died = [each for each in failures(job.folder, partition.name) if each.kind == "died"]
    assert [(each.key, each.attempts) for each in died] == [(job.keys(partition)[1], 3)]
    assert sorted(begun) == sorted(job.keys(partition))
    assert not Path(job.folder.file("notes"), partition.name).exists()


def test_results_of_suspects_are_kept_for_the_next_attempt(
    job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    partition = job.partitions[0]
    for place in range(PARTITION_TRACKS):
        Notes(job.folder, partition).begin(place)
    begun = []

    def load_track(key: str, *options: object) -> object:
        begun.append(Path(key).name)
        return load(key, *options)

    load = worker_module.load_track
    monkeypatch.setattr(worker_module, "load_track", load_track)
    monkeypatch.setattr(Notes, "clear", lambda self: None)  # as if it had died at the end
    with Worker(job, 1) as worker:
        worker.run(partition)
        first = part(job, partition.name).read_bytes()
        part(job, partition.name).unlink()
        assert len(begun) == PARTITION_TRACKS
        begun.clear()
        worker.run(partition)
    assert begun == ["bad.flac"]  # the only one without a result
    assert part(job, partition.name).read_bytes() == first


def test_parts_name_the_threads_that_the_engine_has_by_its_own_choice(job: Job) -> None:
    with Worker(job) as worker:
        worker.run(job.partitions[0])
    table = parquet.read_schema(part(job, job.partitions[0].name))
    threads = json.loads(table.metadata[b"muqrt"])["threads"]
    assert threads == (given_cpus() or physical_cores())


def test_twice_run_is_the_same_file(done_job: Job) -> None:
    partition = done_job.partitions[1]
    first = part(done_job, partition.name).read_bytes()
    part(done_job, partition.name).unlink()
    with Worker(done_job, 1) as worker:
        worker.run(partition)
    assert part(done_job, partition.name).read_bytes() == first


def test_failed_tracks_are_tried_again(done_job: Job, library: Path) -> None:
    assert retry_failed(done_job, frozenset({"storage"})) == 0
    assert retry_failed(done_job) == 2
    again = open_job(done_job.folder.address)
    assert status_of(again).to_do == 2
    with pytest.raises(UsageError, match="another process"):
        retry_failed(done_job)
    soundfile.write(library / "gone.flac", np.full(24_000, 0.1), 24_000)
    try:
        with Worker(again, 1) as worker:
            for partition in again.remaining():
                worker.run(partition)
    finally:
        (library / "gone.flac").unlink()
    status = status_of(open_job(done_job.folder.address))
    assert (status.done, status.failed, status.to_do) == (7, {"audio": 1}, 0)


def test_what_is_not_the_tracks_fault_is_not_written_down(tmp_path: Path) -> None:
    recipe = recipe_of(bundle_of(SHIPPED_BUNDLE), ["embedding"])
    job = plan_job(tmp_path / "job", SHIPPED_BUNDLE, recipe, ["nosuch://bucket/a.flac"])
    with Worker(job, 1) as worker, pytest.raises(UsageError, match="no storage that fsspec knows"):
        worker.run(job.partitions[0])
    assert job.remaining() == job.partitions
    assert not job.folder.names(f"notes/{job.partitions[0].name}")


def test_another_bundle_is_refused(tmp_path: Path) -> None:
    recipe = recipe_of(bundle_of(SHIPPED_BUNDLE), ["embedding"])
    other = recipe.model_copy(update={"artefact_sha256": "0" * 64})
    job = plan_job(tmp_path / "job", SHIPPED_BUNDLE, other, ["a.flac"])
    with pytest.raises(BundleError, match="not the bundle that"):
        job.open_model()


def test_a_changed_manifest_is_refused(job: Job) -> None:
    first = Path(job.folder.file("manifest/0001.parquet"))
    table = parquet.read_table(first)
    changed = table.set_column(0, table.schema.field(0), [[f"{i}.flac" for i in range(8)]])
    parquet.write_table(changed, first, row_group_size=PARTITION_TRACKS)
    with pytest.raises(UsageError, match="changed since"):
        job.keys(job.partitions[0])


def test_a_part_that_lacks_a_track_is_not_exported(done_job: Job, tmp_path: Path) -> None:
    from muqrt.catalogue.export import export_parquet

    job = done_job
    assert export_parquet(job, tmp_path / "all.parquet") == 6
    lines = (tmp_path / "all.failed.jsonl").read_text().splitlines()
    assert {json.loads(line)["kind"] for line in lines} == {"audio", "missing"}
    for path in Path(job.folder.file("parts")).glob("*.jsonl"):
        path.unlink()
    with pytest.raises(StorageError, match="are not the tracks of"):
        export_parquet(job, tmp_path / "all.parquet")


@pytest.mark.full
def test_latents_are_those_of_embed_audio(
    mulan_bundle: Path, keys: list[str], tmp_path: Path
) -> None:
    recipe = recipe_of(bundle_of(mulan_bundle), ["latents"])
    job = plan_job(tmp_path / "job", mulan_bundle, recipe, keys)
    with Worker(job, 1) as worker:
        assert worker.run(job.partitions[0]).tracks == 6
    with muqrt.load(mulan_bundle, threads=1) as model:
        for row in parquet.read_table(part(job, job.partitions[0].name)).to_pylist():
            assert np.array_equal(np.float32(row["latents"]), model.embed_audio(row["key"]))
