"""``muqrt push``: all of a bundle in one commit, nothing else, and one line for what goes wrong."""

import json
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from muqrt.runtime.bundle.manifest import MANIFEST, load_bundle
from muqrt.runtime.hub.card import MARK

from ...hub_server import TOKEN, Hub

Command = Callable[..., CompletedProcess[str]]


def files_of(folder: Path) -> dict[str, bytes]:
    names = [MANIFEST, *load_bundle(folder).files]
    return {name: (folder / name).read_bytes() for name in names}


def test_a_new_repository(hub: Hub, bundle_copy: Path, muqrt: Command) -> None:
    (bundle_copy / "secret.txt").write_text("not listed")
    done = muqrt("push", bundle_copy, "me/mini", "-m", "the first", "--licence", "mit", "--json")
    assert done.returncode == 0, done.stderr
    facts, tree = json.loads(done.stdout), hub.tree("me/mini")
    card = tree.pop("README.md")
    assert tree == {".gitattributes": b"", **files_of(bundle_copy)}
    assert MARK in card.decode() and 'license: "mit"' in card.decode()
    repository = hub.repositories["me/mini"]
    assert len(repository.commits) == 2 and not repository.private  # the hub's own, and this one
    assert repository.messages[facts["commit"]] == "the first"
    assert facts["url"] == f"{hub.url}/me/mini/commit/{facts['commit']}"
    sizes = {name: len(data) for name, data in {**tree, "README.md": card}.items()}
    del sizes[".gitattributes"]
    assert facts["files"] == sizes and facts["bytes"] == sum(sizes.values())
    assert facts["is_new"] and facts["removed"] == []


def test_again_and_with_another_bundle(
    hub: Hub, tiny_bundle: Path, levels_bundle: Path, muqrt: Command
) -> None:
    first = muqrt("push", levels_bundle, "hf://me/mini", "--private")
    assert first.returncode == 0 and hub.repositories["me/mini"].private
    again = muqrt("push", levels_bundle, "me/mini", "--json")
    assert not json.loads(again.stdout)["is_new"]
    repository = hub.repositories["me/mini"]
    own = {**hub.tree("me/mini"), "README.md": b"# My own words", "notes.txt": b"kept"}
    repository.commit("main", own, "by hand")
    second = json.loads(muqrt("push", tiny_bundle, "me/mini", "--json").stdout)
    gone = set(files_of(levels_bundle)) - set(files_of(tiny_bundle))
    assert gone and set(second["removed"]) == gone
    rest = {".gitattributes": b"", "README.md": b"# My own words", "notes.txt": b"kept"}
    assert hub.tree("me/mini") == {**files_of(tiny_bundle), **rest}


def test_a_branch(hub: Hub, tiny_bundle: Path, muqrt: Command, tmp_path: Path) -> None:
    hub.put("me/mini", {"model.safetensors": b"another model"})
    hub.repositories["me/mini"].commits[hub.repositories["me/mini"].branches["main"]].clear()
    (tmp_path / "token").write_text(f"{TOKEN}\n")
    done = muqrt(
        *("push", tiny_bundle, "me/mini", "--revision", "v1", "--token-file", tmp_path / "token")
    )
    assert done.returncode == 0, done.stderr
    assert MANIFEST in hub.tree("me/mini", "v1") and MANIFEST not in hub.tree("me/mini")


def test_a_dry_run_asks_nobody(hub: Hub, tiny_bundle: Path, muqrt: Command) -> None:
    done = muqrt("push", tiny_bundle, "me/mini", "--dry-run")
    assert done.returncode == 0 and done.stdout.startswith("---\nlibrary_name")
    facts = json.loads(muqrt("push", tiny_bundle, "me/mini", "--dry-run", "--json").stdout)
    assert facts["files"] == {name: len(data) for name, data in files_of(tiny_bundle).items()}
    assert not hub.requests


def refused(hub: Hub, done: CompletedProcess[str]) -> str:
    """The one line on stderr that says why, after those that say what is being done."""
    assert done.returncode in (2, 3) and not done.stdout
    return done.stderr.splitlines()[-1]


def test_what_stands_against_it(
    hub: Hub, tiny_bundle: Path, muqrt: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    hub.put("me/other", {"model.safetensors": b"x", "config.json": b"{}"})
    hub.put("me/public", {})
    hub.put("you/mini", {})
    cases = {
        "mini": "no name of a repository",
        "me/other": "holds something else (config.json, model.safetensors)",
        "me/other --revision v1": "holds something else (config.json, model.safetensors)",
        "you/mini": "you have no right to write there",
        "you/none": "you have no right to write there",
        "me/public --private": "is public, so --private cannot be kept",
        "me/x@v1 --revision v2": "name one branch",
        "me/x --licence !": "give the hub's identifier",
        "me/x --token-file none": "--token-file none: cannot be read",
    }
    before = {name: dict(each.branches) for name, each in hub.repositories.items()}
    for arguments, reason in cases.items():
        assert reason in refused(hub, muqrt("push", tiny_bundle, *arguments.split())), arguments
    (tmp_path / "wrong").write_text("hf_wrong")
    wrong = muqrt("push", tiny_bundle, "me/x", "--token-file", tmp_path / "wrong")
    assert "the hub does not accept the token: log in" in refused(hub, wrong)
    monkeypatch.delenv("HF_TOKEN")
    assert "you are not logged in to the hub" in refused(hub, muqrt("push", tiny_bundle, "me/x"))
    hub.failing = 502
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    assert "the hub cannot be reached" in refused(hub, muqrt("push", tiny_bundle, "me/x"))
    assert {name: dict(each.branches) for name, each in hub.repositories.items()} == before


def test_what_goes_wrong_on_the_way(hub: Hub, tiny_bundle: Path, muqrt: Command) -> None:
    hub.put("me/mini", {})
    hub.moves_on = True
    moved = refused(hub, muqrt("push", tiny_bundle, "me/mini"))
    assert "somebody else changed the repository meanwhile" in moved
    hub.moves_on, hub.ignored = False, {"muq.onnx"}
    assert "muq.onnx did not arrive" in refused(hub, muqrt("push", tiny_bundle, "me/mini"))


def test_a_bundle_that_changed_is_not_uploaded(hub: Hub, bundle_copy: Path, muqrt: Command) -> None:
    (bundle_copy / "muq.onnx").write_bytes(b"another graph")
    assert "has changed since it was exported" in refused(
        hub, muqrt("push", bundle_copy, "me/mini")
    )
    assert not hub.requests
