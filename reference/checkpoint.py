"""Checkpoints in the official layout: loaded strictly, written whole or not at all."""

import dataclasses
import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from ..errors import CheckpointError, MissingDependencyError
from ..files import atomic_folder, sha256
from .config import MuQConfig, config_from, read_config
from .muq import MuQ
from .stored import save_tensors

CONFIG_FILE = "config.json"
WEIGHTS_FILE = "model.safetensors"
_HUB_ID = re.compile(r"\w[\w.-]*/\w[\w.-]*")
_KEYS_SHOWN = 5
# torch renamed weight norm's parameters; checkpoints of both times are in use.
_RENAMED = {
    "model.conformer.pos_conv_embed.conv.weight_g": (
        "model.conformer.pos_conv_embed.conv.parametrizations.weight.original0"
    ),
    "model.conformer.pos_conv_embed.conv.weight_v": (
        "model.conformer.pos_conv_embed.conv.parametrizations.weight.original1"
    ),
}


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
        source: a folder with ``config.json`` and ``model.safetensors``; a ``.pt`` (read with
            ``weights_only``) or ``.safetensors`` file, its configuration beside it in
            ``config.json`` or inside the ``.pt`` under "config"; or a hub id such as
            ``OpenMuQ/MuQ-large-msd-iter``.

    Raises:
        CheckpointError: not found, unreadable, an unsupported configuration, or a missing,
            unexpected or wrongly shaped key, which the message names.
    """
    path = Path(source)
    state: Mapping[str, Tensor]
    if path.is_dir():
        config_path, weights_path = path / CONFIG_FILE, path / WEIGHTS_FILE
        for needed in (config_path, weights_path):
            if not needed.is_file():
                raise CheckpointError(f"{path}: {needed.name} is missing from this checkpoint.")
        config, state = read_config(config_path), _read_safetensors(weights_path)
    elif path.is_file():
        weights_path = path
        config, state = _read_file(path)
    elif _HUB_ID.fullmatch(str(source)):
        downloaded = load_checkpoint(_download(str(source)))
        return dataclasses.replace(downloaded, name=str(source))
    else:
        raise CheckpointError(
            f"{source}: no such folder or file, nor a hub id such as OpenMuQ/MuQ-large-msd-iter."
        )
    model = MuQ(config)
    _load_strictly(model, state, str(source))
    return Checkpoint(model.eval(), str(source), _digest(config, weights_path))


def save_checkpoint(model: MuQ, folder: Path, half: bool = False) -> None:
    """Write ``config.json`` and ``model.safetensors`` in the official layout.

    An older checkpoint there is replaced. With ``half`` the parameters are stored as float16, in
    half the space, and rounded by up to 5e-4 of themselves; buffers, such as the positions'
    frequencies, stay as they are.

    Raises:
        CheckpointError: ``folder`` holds anything else, or cannot be written.
    """
    if folder.exists():
        if not folder.is_dir():
            raise CheckpointError(f"{folder}: a file is in the way; choose another folder.")
        if {each.name for each in folder.iterdir()} - {CONFIG_FILE, WEIGHTS_FILE}:
            raise CheckpointError(f"{folder}: holds other files too; choose another folder.")
    with atomic_folder(folder) as temporary:
        document = json.dumps(dataclasses.asdict(model.config), indent=2, sort_keys=True)
        (temporary / CONFIG_FILE).write_text(document + "\n", encoding="utf-8")
        halved = {name for name, _ in model.named_parameters()} if half else set()
        state = {
            name: tensor.half() if name in halved else tensor
            for name, tensor in model.state_dict().items()
        }
        try:
            save_tensors(state, temporary / WEIGHTS_FILE)
        except SafetensorError as error:
            raise CheckpointError(f"{folder}: cannot be written ({error}).") from None


def _digest(config: MuQConfig, weights_path: Path) -> str:
    """One hash over the weights' file and what the configuration says, however it is written."""
    settings = json.dumps(dataclasses.asdict(config), sort_keys=True)
    return hashlib.sha256(f"{settings}\n{sha256(weights_path)}".encode()).hexdigest()


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path}: not a readable safetensors file ({error}).") from None


def _read_torch_file(path: Path) -> object:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch.load raises what its many parsers raise
        raise CheckpointError(
            f"{path}: cannot be read with weights_only ({_reason(error)}). "
            "Save it again as a plain state dict, or as safetensors."
        ) from None


def _read_file(path: Path) -> tuple[MuQConfig, Mapping[str, Tensor]]:
    read = _read_safetensors if path.suffix == ".safetensors" else _read_torch_file
    document = read(path)
    if not isinstance(document, dict):
        raise CheckpointError(f"{path}: expected a state dict, found {type(document).__name__}.")
    state = next((document[k] for k in ("state_dict", "model") if k in document), document)
    if "config" in document:
        config = config_from(document["config"], f"{path}: config")
    elif (path.parent / CONFIG_FILE).is_file():
        config = read_config(path.parent / CONFIG_FILE)
    else:
        raise CheckpointError(f"{path}: no configuration; put its {CONFIG_FILE} beside it.")
    if not isinstance(state, dict) or not all(
        isinstance(name, str) and isinstance(tensor, Tensor) for name, tensor in state.items()
    ):
        raise CheckpointError(f"{path}: expected a state dict of tensors.")
    return config, state


def _load_strictly(model: MuQ, state: Mapping[str, Tensor], where: str) -> None:
    state = {_RENAMED.get(name, name): tensor for name, tensor in state.items()}
    expected = model.state_dict()
    missing = sorted(set(expected) - set(state))
    unexpected = sorted(set(state) - set(expected))
    misshapen = [
        f"{name} is {tuple(tensor.shape)}, expected {tuple(expected[name].shape)}"
        for name, tensor in state.items()
        if name in expected and tensor.shape != expected[name].shape
    ]
    problems = {"missing": missing, "unexpected": unexpected, "wrong shape": misshapen}
    found = [f"{kind}: {_some(names)}" for kind, names in problems.items() if names]
    if found:
        raise CheckpointError(
            f"{where}: the weights are not those of its config.json. {'; '.join(found)}."
        )
    bad = [n for n, t in state.items() if t.is_floating_point() and not t.isfinite().all()]
    if bad:
        raise CheckpointError(f"{where}: NaN or infinite weights in {_some(bad)}.")
    model.load_state_dict(state)


def _some(names: list[str]) -> str:
    shown = ", ".join(names[:_KEYS_SHOWN])
    return shown if len(names) <= _KEYS_SHOWN else f"{shown} and {len(names) - _KEYS_SHOWN} more"


def _reason(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]


def _download(hub_id: str) -> Path:
    try:
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import (
            HfHubHTTPError,
            HFValidationError,
            LocalEntryNotFoundError,
        )
    except ImportError:
        raise MissingDependencyError(
            f"{hub_id}: downloading needs huggingface_hub: pip install 'muqrt[export]'"
        ) from None
    try:
        return Path(snapshot_download(hub_id, allow_patterns=[CONFIG_FILE, WEIGHTS_FILE]))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        raise CheckpointError(
            f"{hub_id}: cannot be fetched from the hub ({_reason(error)}). "
            "Check the name and the network, or download it elsewhere and give its folder."
        ) from None
