"""A bundle on the hub is the one that was pushed, or is refused; what is here is not asked for."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import numpy as np
import pytest

import muqrt
from muqrt.errors import BundleError, HubError, MissingDependencyError
from muqrt.runtime.bundle.manifest import MANIFEST, load_bundle
from muqrt.runtime.hub import fetch
from muqrt.runtime.hub.address import HubAddress
from muqrt.runtime.hub.fetch import fetch_bundle

from ... import hub_server
from ...hub_server import Hub

Command = Callable[..., CompletedProcess[str]]
MINI = HubAddress("me/mini")


def contents(folder: Path) -> dict[str, bytes]:
    """A bundle's files."""
    names = [MANIFEST, *load_bundle(folder).files]
    return {name: (folder / name).read_bytes() for name in names}


@pytest.fixture
def files(hub: Hub, tiny_bundle: Path) -> dict[str, bytes]:
    """The tiny bundle's files, which are on the hub as me/mini among others."""
    found = contents(tiny_bundle)
    hub.put("me/mini", {**found, "README.md": b"# mini", "notes/secret.txt": b"x" * 5000})
    return found


def test_loads_what_was_pushed(hub: Hub, files: dict[str, bytes], tiny_bundle: Path) -> None:
    samples = np.random.default_rng(0).normal(0, 0.1, 24_000).astype(np.float32)
    with muqrt.load(tiny_bundle) as here, muqrt.load("hf://me/mini") as there:
        np.testing.assert_array_equal(here.embed(samples, 24_000), there.embed(samples, 24_000))
    assert sorted(hub.fetched()) == sorted(each.rpartition("/")[2] for each in files)


def test_only_what_the_manifest_lists_in_a_folder_without_links(
    hub: Hub, files: dict[str, bytes]
) -> None:
    folder = fetch_bundle(MINI)
    found = {str(each.relative_to(folder)) for each in folder.rglob("*") if each.is_file()}
    assert found == set(files)
    for name, data in files.items():
        assert not (folder / name).is_symlink() and (folder / name).read_bytes() == data
        assert (folder / name).stat().st_nlink == 2  # the hub's cache has the other name


def test_revisions(hub: Hub, files: dict[str, bytes]) -> None:
    repository = hub.repositories["me/mini"]
    first = repository.branches["main"]
    repository.commit("main", {"README.md": b"nothing any more"}, "second")
    with pytest.raises(BundleError, match=r"hf://me/mini: not a bundle: .* no bundle.json"):
        fetch_bundle(MINI)
    assert fetch_bundle(HubAddress("me/mini", first)).name == first
    repository.branches["v1"] = first
    assert fetch_bundle(HubAddress("me/mini", "v1")).name == first
    with pytest.raises(HubError, match="the repository has no revision v2"):
        fetch_bundle(HubAddress("me/mini", "v2"))


def test_works_from_the_cache_where_the_hub_is_out_of_order(
    hub: Hub, files: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(HubError, match="was not fetched yet, and the hub is not asked"):
        fetch_bundle(MINI, local_files_only=True)
    folder = fetch_bundle(MINI)
    hub.requests.clear()
    assert fetch_bundle(MINI, local_files_only=True) == folder
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert fetch_bundle(MINI) == folder
    assert not hub.requests
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    hub.failing = 503
    assert fetch_bundle(MINI) == folder


def test_an_interrupted_download_goes_on(
    hub: Hub, files: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    largest = max(files, key=lambda name: len(files[name]))
    hub.breaks.add(largest)  # the connection is lost in the middle of it
    monkeypatch.setattr("huggingface_hub.constants.DOWNLOAD_CHUNK_SIZE", 1 << 16)
    done: list[str] = []
    whole = fetch._Repository.file

    def stopped(self: fetch._Repository, name: str, *arguments: str) -> Path:
        if len(done) == len(files) - 2:
            raise KeyboardInterrupt
        done.append(name)
        return whole(self, name, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(fetch._Repository, "file", stopped)
        with pytest.raises(KeyboardInterrupt):
            fetch_bundle(MINI)
    hub.requests.clear()
    folder = fetch_bundle(MINI)
    assert len(hub.fetched()) == 1  # the one that was missing
    assert hub.ranges == [largest]
    assert contents(folder) == files


def test_a_file_that_was_damaged_in_the_cache_is_fetched_again(
    hub: Hub, files: dict[str, bytes], tmp_path: Path
) -> None:
    snapshot = Path(fetch_bundle(MINI))
    name = next(each for each in files if each != MANIFEST)
    blob = next((tmp_path / "hub").rglob(f"snapshots/*/{name}")).resolve()
    blob.write_bytes(b"damaged")
    for each in snapshot.iterdir():
        each.unlink()
    assert contents(fetch_bundle(MINI)) == files


def refusal(hub: Hub, files: dict[str, bytes]) -> str:
    hub.put("me/other", files)
    with pytest.raises(BundleError) as error:
        fetch_bundle(HubAddress("me/other"))
    assert len(str(error.value).splitlines()) == 1
    return str(error.value)


def test_what_is_not_the_manifest_s_is_refused(
    hub: Hub, files: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    large = max(files, key=lambda name: len(files[name]))
    changed = files[large][:-1] + b"!"
    assert f"{large} is not the file" in refusal(hub, {**files, large: changed})
    assert large not in hub.fetched()  # the hub knows its hash
    with monkeypatch.context() as patch:
        patch.setattr(hub_server, "LFS_BYTES", 1 << 30)  # all in git, whose hash is another
        assert f"{large} is not the file" in refusal(hub, {**files, large: changed})
    missing = {name: data for name, data in files.items() if name != large}
    assert f"the repository lacks {large}" in refusal(hub, missing)
    assert "not JSON" in refusal(hub, {**files, MANIFEST: b"{"})
    document = json.loads(files[MANIFEST])
    document["artefacts"][0]["files"]["../../outside"] = "0" * 64
    outside = json.dumps(document).encode()
    assert "points outside the bundle's folder" in refusal(hub, {**files, MANIFEST: outside})
    monkeypatch.setattr(fetch, "_MOST_BYTES", 1000)
    assert "more than any bundle" in refusal(hub, files)
    monkeypatch.setattr(fetch, "_MOST_MANIFEST_BYTES", 100)
    assert "larger than any manifest" in refusal(hub, files)


@pytest.mark.parametrize("where", ["me/none", "me/secret"])
def test_no_such_repository(hub: Hub, where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.put("me/secret", {MANIFEST: b"{}"}, private=True)
    monkeypatch.delenv("HF_TOKEN")
    with pytest.raises(HubError, match=f"hf://{where}: no such repository, or a private one"):
        muqrt.load(f"hf://{where}")


def test_a_hub_that_cannot_be_reached(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.failing = 503
    with pytest.raises(HubError, match=r"the hub cannot be reached .*Check the network"):
        muqrt.load("hf://me/mini")
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(HubError, match="the hub cannot be reached"):
        muqrt.load("hf://me/mini")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(HubError, match="this has to ask the hub, and HF_HUB_OFFLINE is set"):
        muqrt.load("hf://me/mini")


def test_without_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(os.sys.modules, "huggingface_hub", None)  # type: ignore[attr-defined]
    with pytest.raises(MissingDependencyError, match=r"pip install 'muqrt\[hub\]'"):
        muqrt.load("hf://me/mini")


def test_commands_take_addresses(hub: Hub, files: dict[str, bytes], muqrt: Command) -> None:
    shown = muqrt("info", "hf://me/mini", "--json")
    assert shown.returncode == 0, shown.stderr
    assert json.loads(shown.stdout) == load_bundle(fetch_bundle(MINI)).model_dump()
    song = next((Path(__file__).parents[3] / "examples" / "audio").glob("*.flac"))
    done = muqrt("embed", song, "-b", "hf://me/mini@main", "--json")
    assert done.returncode == 0, done.stderr
    refused = muqrt("parity", "hf://me/mini")
    assert refused.returncode == 2 and "was fetched from the hub" in refused.stderr
    (found,) = json.loads(muqrt("doctor", "hf://me/mini", "--json").stdout)["bundles"].values()
    assert found["ok"] and found["detail"].endswith("copy the folder, and muqrt parity the copy")
    none = muqrt("tag", song, "-b", "hf://me/none")
    assert none.returncode == 3 and len(none.stderr.splitlines()) == 1
    malformed = muqrt("info", "hf://mini")
    assert malformed.returncode == 2 and "hf://USER/NAME" in malformed.stderr
