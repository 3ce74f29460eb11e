"""Checkpoints in the official layout: loaded strictly, written whole or not at all."""

import dataclasses
import hashlib
import json
from collections.abc import Mapping, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from ..common.files import atomic_folder, sha256
from ..errors import CheckpointError
from .config import COUNTS, MuQConfig, config_from, read_config
from .hub import download, is_hub_id
from .muq import MuQ
from .stored import save_tensors
from .weights import (
    TORCH_WEIGHTS_FILE,
    WEIGHTS_FILE,
    checked_state,
    load_strictly,
    read_weights,
    weights_file,
)

CONFIG_FILE = "config.json"
_FILES = [CONFIG_FILE, WEIGHTS_FILE, TORCH_WEIGHTS_FILE]


@dataclass
class Checkpoint:
    """A loaded model (in eval mode), the name it was asked for by, and the hash of both files."""

    model: MuQ
    name: str
    sha256: str

    @property
    def parameters(self) -> int:
        """Number of weights."""
        return sum(parameter.numel() for parameter in self.model.parameters())


def load_checkpoint(source: str | Path) -> Checkpoint:
    """Load a MuQ strictly.

    Args:
        source: a folder with ``config.json`` and ``model.safetensors`` or ``pytorch_model.bin``; a
            ``.pt`` (read with ``weights_only``) or ``.safetensors`` file, its configuration beside
            it in ``config.json`` or inside the ``.pt`` under "config"; or a hub id such as
            ``OpenMuQ/MuQ-large-msd-iter``.

    Raises:
        CheckpointError: not found, unreadable, an unsupported configuration, or a missing,
            unexpected or wrongly shaped key, which the message names.
    """
    path = Path(source)
    state: Mapping[str, Tensor]
    if path.is_dir():
        if not (path / CONFIG_FILE).is_file():
            raise CheckpointError(f"{path}: {CONFIG_FILE} is missing from this checkpoint.")
        weights_path = weights_file(path)
        config = read_config(path / CONFIG_FILE)
        state = checked_state(read_weights(weights_path), weights_path)
    elif path.is_file():
        weights_path = path
        config, state = _read_file(path)
    elif is_hub_id(source):
        downloaded = load_checkpoint(download(str(source), _FILES))
        return dataclasses.replace(downloaded, name=str(source))
    else:
        raise CheckpointError(
            f"{source}: no such folder or file, nor a hub id such as OpenMuQ/MuQ-large-msd-iter."
        )
    settings = dataclasses.asdict(config)
    model = load_strictly(lambda: MuQ(config), settings, COUNTS, state, str(source))
    return Checkpoint(model, str(source), _digest(config, weights_path))


def checkpoint_sha256(folder: Path) -> str:
    """The hash of a checkpoint's folder that ``load_checkpoint`` gives, without loading it.

    Raises:
        CheckpointError: its configuration or its weights are missing or unreadable.
    """
    return _digest(read_config(folder / CONFIG_FILE), weights_file(folder))


def save_checkpoint(model: MuQ, folder: Path, half: bool = False) -> None:
    """Write ``config.json`` and ``model.safetensors`` in the official layout.

    An older checkpoint there is replaced. With ``half`` the parameters are stored as float16, in
    half the space, and rounded by up to 5e-4 of themselves; buffers, such as the positions'
    frequencies, stay as they are.

    Raises:
        CheckpointError: ``folder`` holds anything else, or cannot be written.
    """
    check_replaceable(folder, {CONFIG_FILE, WEIGHTS_FILE})
    with atomic_folder(folder) as temporary:
        save_config(model.config, temporary / CONFIG_FILE)
        save_tensors(stored_state(model, half), temporary / WEIGHTS_FILE)


def stored_state(model: nn.Module, half: bool) -> dict[str, Tensor]:
    """The state dict, with ``half`` its parameters as float16 and its buffers as they are."""
    halved = {name for name, _ in model.named_parameters()} if half else set()
    return {
        name: tensor.half() if name in halved else tensor
        for name, tensor in model.state_dict().items()
    }


def check_replaceable(folder: Path, own_names: Set[str]) -> None:
    """Raise CheckpointError if there is anything at ``folder`` but a folder of ``own_names``."""
    if folder.exists():
        if not folder.is_dir():
            raise CheckpointError(f"{folder}: a file is in the way; choose another folder.")
        if {each.name for each in folder.iterdir()} - own_names:
            raise CheckpointError(f"{folder}: holds other files too; choose another folder.")


def save_config(config: Any, path: Path) -> None:
    """Write a dataclass as JSON."""
    document = json.dumps(dataclasses.asdict(config), indent=2, sort_keys=True)
    path.write_text(document + "\n", encoding="utf-8")


def _digest(config: MuQConfig, weights_path: Path) -> str:
    """One hash over the weights' file and what the configuration says, however it is written."""
    settings = json.dumps(dataclasses.asdict(config), sort_keys=True)
    return hashlib.sha256(f"{settings}\n{sha256(weights_path)}".encode()).hexdigest()


def _read_file(path: Path) -> tuple[MuQConfig, Mapping[str, Tensor]]:
    document = read_weights(path)
    if not isinstance(document, dict):
        raise CheckpointError(f"{path}: expected a state dict, found {type(document).__name__}.")
    state = next((document[k] for k in ("state_dict", "model") if k in document), document)
    if "config" in document:
        config = config_from(document["config"], f"{path}: config")
    elif (path.parent / CONFIG_FILE).is_file():
        config = read_config(path.parent / CONFIG_FILE)
    else:
        raise CheckpointError(f"{path}: no configuration; put its {CONFIG_FILE} beside it.")
    return config, checked_state(state, path)
