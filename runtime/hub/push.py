"""Upload a bundle to the Hugging Face hub: its listed files and a model card, in one commit."""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from ...common.files import read_text
from ...errors import BundleError, HubError, UsageError
from ..bundle.manifest import MANIFEST, Bundle, load_bundle
from .address import HubAddress
from .card import CARD, MARK
from .client import hub_client

_CARD_LIMIT_BYTES = 1 << 20
# What the hub puts into a new repository.
_OF_EVERY_REPOSITORY = {".gitattributes", CARD}


@dataclass(frozen=True)
class Pushed:
    """What was uploaded.

    Attributes:
        url: of the commit.
        commit: its hash.
        files: all of the bundle's files and the card, by their sizes in bytes.
        removed: files of the bundle that was there before.
        is_new: False if the repository held just this already.
    """

    url: str
    commit: str
    files: dict[str, int]
    removed: list[str]
    is_new: bool


def files_to_push(bundle: Bundle) -> dict[str, Path]:
    """The manifest and what it lists, by their places in the bundle, with every hash checked.

    Raises:
        BundleError: a file is missing, changed, outside the folder, or in the card's place.
    """
    bundle.verify_all()
    for name in bundle.files:
        if name in _OF_EVERY_REPOSITORY:
            raise BundleError(f"{bundle.folder}: lists {name}, which the hub has for itself.")
    return {name: bundle.path(name) for name in (MANIFEST, *bundle.files)}


def push(
    bundle: Bundle,
    address: HubAddress,
    card: str,
    private: bool = False,
    message: str | None = None,
    token: str | None = None,
) -> Pushed:
    """Upload a bundle, in one commit: either all of it is there afterwards, or nothing is.

    A repository that is missing is made. One that holds a bundle gets this one in its place; a
    card that a person has written stays.

    Args:
        bundle: what to upload; its hashes are checked first.
        address: the repository, and a branch, which is made where it is missing.
        card: the model card.
        private: make a private repository.
        message: the commit's.
        token: with the right to write; the one that is stored when None.

    Raises:
        BundleError: the bundle changed since it was exported. UsageError: the repository holds
            something else, or is public although it was to be private. HubError: not logged in, no
            right to write, or the hub cannot be reached. MissingDependencyError: huggingface_hub is
            not installed.
    """
    files = files_to_push(bundle)
    repository, revision = address.repository, address.revision
    with hub_client(address) as hub:
        api = hub.HfApi(token=token, library_name="muqrt", library_version=version("muqrt"))
        api.whoami()
        api.create_repo(repository, private=private or None, exist_ok=True)
        # A branch begins as a copy of main.
        is_there = revision is None or api.revision_exists(repository, revision)
        before = api.model_info(repository, revision=revision if is_there else None)
        there = {each.rfilename for each in before.siblings or ()}
        _check_replaceable(address, before, there, private)
        if not is_there:
            api.create_branch(repository, branch=revision, revision=before.sha)
        removed = _no_longer_listed(api, address, before.sha, there, files)
        contents: dict[str, Any] = {name: str(path) for name, path in files.items()}
        if CARD not in there or _is_ours(api, address, before.sha):
            contents[CARD] = card.encode()
        operations = [
            *(hub.CommitOperationAdd(name, each) for name, each in contents.items()),
            *(hub.CommitOperationDelete(name) for name in removed),
        ]
        done = api.create_commit(
            repository,
            operations,
            commit_message=message or f"Bundle by {bundle.created_by}",
            revision=revision,
            parent_commit=before.sha,
        )
        sizes = {each.path_in_repo: each.upload_info.size for each in operations[: len(contents)]}
        _check_arrived(api, address, done.oid, bundle, sizes)
    return Pushed(done.commit_url, done.oid, sizes, removed, done.oid != before.sha)


def _check_replaceable(address: HubAddress, info: Any, there: set[str], private: bool) -> None:
    if private and not info.private:
        raise UsageError(
            f"{address}: is public, so --private cannot be kept. Make it private on the hub's site "
            "first, or choose another name."
        )
    others = sorted(there - _OF_EVERY_REPOSITORY)
    if others and MANIFEST not in there:
        shown = ", ".join(others[:3]) + (", ..." if len(others) > 3 else "")
        raise UsageError(
            f"{address}: holds something else ({shown}). Choose the name of another repository, "
            "or of none yet."
        )


def _no_longer_listed(
    api: Any, address: HubAddress, commit: str, there: set[str], files: Mapping[str, Path]
) -> list[str]:
    """Files of the bundle that is in the repository which this one does not have."""
    if MANIFEST not in there:
        return []
    manifest = Path(api.hf_hub_download(address.repository, MANIFEST, revision=commit))
    try:
        listed = load_bundle(manifest.parent).files
    except BundleError:  # by another version of muqrt; then nothing is known to be left over
        return []
    return sorted((there & listed.keys()) - files.keys() - _OF_EVERY_REPOSITORY)


def _is_ours(api: Any, address: HubAddress, commit: str) -> bool:
    """Whether the repository's card was written by ``model_card``."""
    card = Path(api.hf_hub_download(address.repository, CARD, revision=commit))
    try:
        return MARK in read_text(card, _CARD_LIMIT_BYTES)
    except ValueError:
        return False


def _check_arrived(
    api: Any, address: HubAddress, commit: str, bundle: Bundle, sizes: Mapping[str, int]
) -> None:
    """Raise HubError unless the commit has every file: a .gitignore there leaves out what it names,
    and says nothing."""
    found = api.get_paths_info(address.repository, list(sizes), revision=commit)
    arrived = {each.path: each for each in found if hasattr(each, "size")}
    for name, size in sizes.items():
        each = arrived.get(name)
        if each is None or each.size != size or _is_another(each, bundle.files.get(name)):
            raise HubError(
                f"{address}: {name} did not arrive in commit {commit[:12]}. Look for a .gitignore "
                "in the repository, and push again."
            )


def _is_another(stored: Any, expected: str | None) -> bool:
    """Whether a file on the hub has another SHA-256; git's files have none."""
    return stored.lfs is not None and expected is not None and stored.lfs.sha256 != expected
