"""The same in S3: audio, job and parts, on a server that fails now and then."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import soundfile

from muqrt.catalogue.storage import Folder, file_system, is_transient
from muqrt.errors import StorageError

from ..until import until
from .conftest import BAD, GOOD, PARTITION_TRACKS, Muqrt, kill, worker_pids
from .flaky_s3 import FlakyApp, s3_server

pytest.importorskip("moto")
pytest.importorskip("s3fs")
parquet = pytest.importorskip("pyarrow.parquet")


@dataclass
class Bucket:
    """A bucket, and the server that has it."""

    server: FlakyApp
    address: str = "s3://music"

    def parts(self) -> list[str]:
        """The names of the parts that are there."""
        names = Folder(f"{self.address}/job").names("parts")
        return [name for name in names if name.endswith(".parquet")]


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[Bucket]:
    """An empty one; this process and those it starts find the server by their environment."""
    with s3_server() as (address, server), monkeypatch.context() as patched:
        patched.setenv("AWS_ENDPOINT_URL", address)
        patched.setenv("AWS_ACCESS_KEY_ID", "testing")
        patched.setenv("AWS_SECRET_ACCESS_KEY", "testing")
        patched.setenv("AWS_DEFAULT_REGION", "us-east-1")
        files, _ = file_system("s3://music")
        type(files).clear_instance_cache()
        files, _ = file_system("s3://music")
        files.mkdir("music")
        yield Bucket(server)
        type(files).clear_instance_cache()


@pytest.fixture
def environment(environment: dict[str, str], bucket: Bucket) -> dict[str, str]:
    """The same with the address of the server."""
    import os

    names = ("AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_DEFAULT_REGION")
    return environment | {name: os.environ[name] for name in names}


def test_a_folder_in_s3(bucket: Bucket) -> None:
    folder = Folder.at("s3://music/job/")
    assert folder.names("parts") == {}
    assert not folder.exists("parts/a")
    with pytest.raises(FileNotFoundError):
        folder.read("parts/a")
    folder.write("parts/a", b"one")
    folder.write("parts/a", b"two")
    folder.mark("parts/b")
    assert folder.read("parts/a") == b"two"
    found = folder.names("parts")
    assert set(found) == {"a", "b"} and min(found.values()) > 1e9
    with pytest.raises(FileExistsError):
        folder.write_new("parts/a", b"three")
    folder.remove(["parts/a", "parts/b", "parts/c"])
    assert folder.names("parts") == {}


def test_what_fails_for_the_moment_is_tried_again(bucket: Bucket) -> None:
    bucket.server.fail_every = 2
    folder = Folder.at("s3://music/job")
    for number in range(4):
        folder.write(f"parts/{number}", bytes([number]))
    assert [folder.read(f"parts/{number}") for number in range(4)] == [b"\0", b"\1", b"\2", b"\3"]
    assert bucket.server.requests["failed"] >= 4


def test_what_is_transient() -> None:
    refused = OSError("aiohttp's have a status")
    for status, expected in ((404, False), (403, False), (429, True), (503, True)):
        refused.status = status  # type: ignore[attr-defined]
        assert is_transient(refused) == expected
    assert is_transient(ConnectionResetError())
    assert not is_transient(PermissionError())
    assert not is_transient(FileNotFoundError())


@pytest.mark.full
@pytest.mark.slow
def test_a_killed_job_on_a_failing_server(
    catalogue: Path, bucket: Bucket, start: Muqrt, tmp_path: Path
) -> None:
    from .test_survival import check, done, embeddings, run

    files, _ = file_system(bucket.address)
    for path in catalogue.iterdir():
        files.put_file(str(path), f"music/tracks/{path.name}")
    bucket.server.fail_every, bucket.server.slow_every = 7, 10
    job = f"{bucket.address}/job"
    words = ["plan", f"{bucket.address}/tracks", "-o", job]
    tracks = done(start([*words, "--partition-tracks", PARTITION_TRACKS, "--json"]))["tracks"]
    assert tracks == GOOD + BAD + 1
    running = start(run(job))
    until(lambda: bool(bucket.parts()))
    kill(worker_pids(running.pid)[0])
    until(lambda: len(bucket.parts()) > 2)
    kill(running.pid)
    running.communicate()
    facts = done(start(run(job)))
    assert facts["left"] == 0
    assert facts["again"] <= 4 * PARTITION_TRACKS
    assert bucket.server.requests["failed"] > 20 and bucket.server.requests["slow"] > 5
    expected = {
        f"{bucket.address}/tracks/{Path(key).name}": value
        for key, value in embeddings(catalogue).items()
    }
    check(start, job, tmp_path, expected)
    there = f"{bucket.address}/all.parquet"
    assert done(start(["export", job, "-o", there, "--json"]))["rows"] == GOOD
    for name in ("all.parquet", "all.failed.jsonl"):
        here = (tmp_path / name).read_bytes()
        assert files.cat_file(f"{bucket.address}/{name}") == here
    assert json.loads(start(["status", job, "--json"]).communicate()[0])["to_do"] == 0


def test_an_unreachable_server_is_not_the_tracks_fault(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from muqrt.catalogue.planning import bundle_of, plan_job, recipe_of
    from muqrt.catalogue.worker import Worker
    from muqrt.runtime.bundle.shipped import SHIPPED_BUNDLE

    soundfile.write(tmp_path / "a.flac", [0.1] * 24_000, 24_000)
    recipe = recipe_of(bundle_of(SHIPPED_BUNDLE), ["embedding"])
    keys = ["s3://music/a.flac"]
    job = plan_job(tmp_path / "job", SHIPPED_BUNDLE, recipe, keys)
    monkeypatch.setattr("muqrt.catalogue.storage.MOST_RETRIES", 0)
    bucket.server.fail_every = 1
    with Worker(job, 1) as worker, pytest.raises(StorageError, match="none of its tracks"):
        worker.run(job.partitions[0])
    assert job.remaining() == job.partitions
