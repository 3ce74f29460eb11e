"""Fetch a bundle from the Hugging Face hub: what its manifest lists, checked, and nothing else."""

import os
import shutil
from collections.abc import Mapping
from importlib.metadata import version
from os import PathLike, fspath
from pathlib import Path
from typing import Any

from ...common.files import atomic_folder, cache_folder, sha256
from ...common.lock import locked
from ...errors import BundleError
from ..bundle.manifest import MANIFEST, load_bundle
from .address import HubAddress, is_hub_address
from .client import hub_client
from .failure import is_unreachable, network_errors

_FOLDER = "hub"  # in muqrt's cache
# Far above any real bundle's; they keep a hostile repository from filling the disk.
_MOST_MANIFEST_BYTES = 16 << 20
_MOST_BYTES = 64 << 30
_MOST_FILES = 1000


def local_folder(place: Any, local_files_only: bool = False) -> Any:
    """A bundle's folder on this machine: fetched if its place is on the hub, else as it is.

    Raises:
        What ``fetch_bundle`` raises.
    """
    if not is_hub_address(place):
        return place
    return fetch_bundle(HubAddress.parse(fspath(place)), local_files_only)


def fetch_bundle(
    address: HubAddress,
    local_files_only: bool = False,
    token: str | bool | None = None,
    cache_dir: str | PathLike[str] | None = None,
) -> Path:
    """Fetch a bundle, or find it where an earlier call left it.

    Files are kept in the hub's cache, and are there once: the folder that is returned, in muqrt's
    cache, has hard links to them. A bundle is in that folder when all its files are there and have
    the hashes of its manifest. Files that an interrupted call has completed are not fetched again.
    Without a network the last revision that was fetched answers.

    Args:
        address: repository and revision.
        local_files_only: do not ask the hub.
        token: for a repository that is not public; the one that is stored when None.
        cache_dir: the hub's cache; its client's usual one when None.

    Returns:
        The bundle's folder; do not change what is in it.

    Raises:
        HubError: no such repository or revision, no right to read it, or no network and no copy.
        BundleError: not a bundle, larger than any, or a file that is not what the manifest says.
        MissingDependencyError: huggingface_hub is not installed.
    """
    with hub_client(address) as hub:
        api = hub.HfApi(token=token, library_name="muqrt", library_version=version("muqrt"))
        repository = _Repository(api, address, local_files_only, cache_dir)
        snapshot = repository.manifest().parent
    name = address.repository.replace("/", "--")
    folder = cache_folder() / _FOLDER / name / snapshot.name
    if (folder / MANIFEST).is_file():
        return folder
    with locked(folder.parent):  # of several processes one fetches, and the others wait
        if not (folder / MANIFEST).is_file():
            listed = _listed(snapshot, address)
            with hub_client(address):
                repository.check(listed, snapshot.name)
                found = {
                    each: repository.file(each, snapshot.name, listed[each]) for each in listed
                }
            with atomic_folder(folder) as temporary:
                for each, path in {MANIFEST: snapshot / MANIFEST, **found}.items():
                    _link(path.resolve(), temporary / each)
    return folder


def is_fetched(folder: Path) -> bool:
    """Whether a folder is where bundles from the hub are kept."""
    return folder.resolve().is_relative_to((cache_folder() / _FOLDER).resolve())


def _listed(snapshot: Path, address: HubAddress) -> dict[str, str]:
    """The files that a manifest lists, with their hashes."""
    try:
        listed = load_bundle(snapshot).files
    except BundleError as error:
        reason = str(error).replace(str(snapshot), str(address))
        raise BundleError(reason) from None
    if len(listed) > _MOST_FILES:
        raise BundleError(f"{address}: lists {len(listed)} files; no bundle has as many.")
    return listed


def _link(file: Path, place: Path) -> None:
    """Give a file another name; a copy where the two are on different file systems."""
    place.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(file, place)
    except OSError:
        shutil.copyfile(file, place)


class _Repository:
    """A repository's files, through the hub's client."""

    def __init__(
        self,
        api: Any,
        address: HubAddress,
        is_offline: bool,
        cache_dir: str | PathLike[str] | None,
    ) -> None:
        self._api, self._address, self._is_offline = api, address, is_offline
        self._cache_dir = None if cache_dir is None else fspath(cache_dir)

    def manifest(self) -> Path:
        """The manifest of the revision, in the hub's cache."""
        if not self._is_offline:
            try:
                sizes = self._sizes([MANIFEST], self._address.revision)
            except network_errors() as error:
                if not is_unreachable(error):
                    raise
                self._is_offline = True  # the cache may know
                try:
                    return self._get(MANIFEST, self._address.revision)
                except network_errors():
                    raise error from None
            if MANIFEST not in sizes:
                raise BundleError(
                    f"{self._address}: not a bundle: the repository has no {MANIFEST}. muqrt push "
                    "uploads one."
                )
            if sizes[MANIFEST].size > _MOST_MANIFEST_BYTES:
                raise BundleError(f"{self._address}: {MANIFEST} is larger than any manifest.")
        return self._get(MANIFEST, self._address.revision)

    def check(self, listed: Mapping[str, str], commit: str) -> None:
        """Compare what the repository has with what the manifest lists, before it is fetched.

        Raises:
            BundleError: a file is missing or another one, or all are larger than any bundle.
        """
        if self._is_offline:
            return
        found = self._sizes(list(listed), commit)
        for name, expected in listed.items():
            if name not in found:
                raise BundleError(f"{self._address}: the repository lacks {name}; push it again.")
            stored = found[name].lfs
            if stored is not None and stored.sha256 != expected:
                raise BundleError(f"{self._address}: {name} {_NOT_LISTED}")
        total = sum(found[name].size for name in listed)
        if total > _MOST_BYTES:
            raise BundleError(
                f"{self._address}: {total / 1e9:.0f} GB, which is more than any bundle has."
            )

    def file(self, name: str, commit: str, expected: str) -> Path:
        """A file with the hash that is expected, in the hub's cache; one that was damaged there is
        fetched again.

        Raises:
            BundleError: the repository's has another hash.
        """
        path = self._get(name, commit)
        if sha256(path) != expected and not self._is_offline:
            path = self._get(name, commit, force_download=True)
        if sha256(path) != expected:
            raise BundleError(f"{self._address}: {name} {_NOT_LISTED}")
        return path

    def _get(self, name: str, revision: str | None, force_download: bool = False) -> Path:
        return Path(
            self._api.hf_hub_download(
                self._address.repository,
                name,
                revision=revision,
                cache_dir=self._cache_dir,
                local_files_only=self._is_offline,
                force_download=force_download,
            )
        )

    def _sizes(self, names: list[str], revision: str | None) -> dict[str, Any]:
        """The client's records of those of these files that the repository has."""
        found = self._api.get_paths_info(self._address.repository, names, revision=revision)
        return {each.path: each for each in found if hasattr(each, "size")}


_NOT_LISTED = (
    "is not the file that its manifest lists (another SHA-256). Ask its author to push the bundle "
    "again."
)
