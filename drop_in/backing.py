"""Find the bundle for a model's name, exporting a checkpoint once."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path
from shutil import rmtree
from typing import Any

import torch
from torch import Tensor

from ..common.console import note, progress
from ..common.files import atomic_folder, cache_folder, sha256
from ..common.lock import locked
from ..errors import CheckpointError, ParityError
from ..export.bundle_from_checkpoint import bundle_from_checkpoint
from ..export.parity.excerpt import excerpts
from ..export.parity.proof import Proof
from ..export.sources.checkpoint import load_source
from ..reference.checkpoint import CONFIG_FILE, checkpoint_sha256
from ..reference.hub import HubOptions, download, is_hub_id
from ..reference.mulan.checkpoint import is_mulan, mulan_files
from ..reference.stored import save_tensors
from ..reference.weights import TORCH_WEIGHTS_FILE, WEIGHTS_FILE
from ..runtime.bundle.manifest import MANIFEST
from ..runtime.hub.address import HubAddress, is_hub_address
from ..runtime.hub.fetch import fetch_bundle

_FOLDER = "drop-in"  # in the cache
_LAYOUT = "1"  # of what is exported; another finds nothing that an older muqrt has kept


@dataclass(frozen=True)
class Backing:
    """What answers for a model.

    Attributes:
        bundle: its folder.
        checkpoint: the folder with its weights; None where only the bundle was named.
    """

    bundle: Path
    checkpoint: Path | None = None


def backing(source: str | PathLike[str], hub: HubOptions) -> Backing:
    """Find a bundle, or export a checkpoint.

    Args:
        source: a bundle's folder or address (``hf://user/name``), a checkpoint's folder, or a hub
            id of either.
        hub: how what is not here is fetched.

    Raises:
        CheckpointError: none of these. ParityError: the export's numbers are not the reference's.
            HubError, BundleError: a bundle on the hub cannot be fetched, or is not one.
    """
    if is_hub_address(source):
        return _fetched(HubAddress.parse(str(source)), hub)
    path = Path(source)
    if (path / MANIFEST).is_file():
        return Backing(path.absolute())
    if not path.is_dir():
        if not is_hub_id(str(source)):
            raise CheckpointError(
                f"{source}: no folder of a bundle or a checkpoint, nor a hub id such as "
                "OpenMuQ/MuQ-large-msd-iter."
            )
        path = download(str(source), [MANIFEST, CONFIG_FILE], hub)
        if (path / MANIFEST).is_file():
            return _fetched(HubAddress(str(source)), hub)
        path = download(str(source), [CONFIG_FILE, WEIGHTS_FILE, TORCH_WEIGHTS_FILE], hub)
    return Backing(_exported(path.absolute(), str(source), hub), path.absolute())


def _fetched(address: HubAddress, hub: HubOptions) -> Backing:
    """A bundle on the hub."""
    address = HubAddress(address.repository, address.revision or hub.revision)
    return Backing(fetch_bundle(address, hub.local_files_only, hub.token, hub.cache_dir))


def backing_of_state(
    config: Mapping[str, Any],
    state: Mapping[str, Tensor],
    hub: HubOptions,
    besides: Mapping[str, Path] | None = None,
) -> Backing:
    """Export weights that are in memory; they are kept as a checkpoint beside the bundle.

    Args:
        config: the model's, as in ``config.json``.
        state: the official state dict.
        hub: how what is not here is fetched.
        besides: further files of the checkpoint, by their places in its folder.

    Raises:
        CheckpointError: the weights are not those of the configuration, and are not kept.
            ParityError: the export's numbers are not the reference's.
    """
    document = json.dumps(config, indent=2, sort_keys=True)
    digest = hashlib.sha256(document.encode())
    for name, tensor in sorted(state.items()):
        values = tensor.detach().cpu().contiguous()
        digest.update(f"{name} {values.dtype} {tuple(values.shape)}".encode())
        digest.update(values.flatten().view(torch.uint8).numpy().tobytes())
    for name, path in sorted((besides or {}).items()):
        digest.update(f"{name} {sha256(path)}".encode())
    home = cache_folder() / _FOLDER / "states" / digest.hexdigest()
    folder = home / "checkpoint"
    with locked(home):  # no other process finds weights that are about to be refused
        is_new = not folder.is_dir()
        if is_new:
            with atomic_folder(folder) as temporary:
                (temporary / CONFIG_FILE).write_text(document + "\n", encoding="utf-8")
                save_tensors(state, temporary / WEIGHTS_FILE)
                for name, path in (besides or {}).items():
                    (temporary / name).parent.mkdir(parents=True, exist_ok=True)
                    (temporary / name).write_bytes(path.read_bytes())
        try:
            return backing(folder, hub)
        except (CheckpointError, ParityError):
            if is_new:
                rmtree(folder)
            raise


def _exported(folder: Path, name: str, hub: HubOptions) -> Path:
    """The bundle of a checkpoint's folder, in the cache under the hash of what it is made from."""
    home = cache_folder() / _FOLDER / _key(folder, hub)
    bundle = home / "bundle"
    if (bundle / MANIFEST).is_file():
        return bundle
    with locked(home):  # of several processes one exports, and the others wait
        if (bundle / MANIFEST).is_file():
            return bundle
        note(f"{name}: exporting it once, to {bundle}.")
        checkpoint = replace(load_source(folder, hub), name=name)
        music = excerpts()
        with progress("Exporting", len(music)) as bar:
            proof = Proof(checkpoint, music=music, on_step=bar.advance)
            bundle_from_checkpoint(proof, bundle, levels=True)
    return bundle


def _key(folder: Path, hub: HubOptions) -> str:
    if is_mulan(folder):
        files = mulan_files(folder, hub)
        tokenizer = "" if files.tokenizer is None else sha256(files.tokenizer)
        facts = f"{files.sha256} {tokenizer}"
    else:
        facts = checkpoint_sha256(folder)
    return hashlib.sha256(f"{_LAYOUT} {facts}".encode()).hexdigest()
