"""Weights in a file: read without running code, and loaded strictly."""

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from ..errors import CheckpointError

_NAMES_SHOWN = 5
# torch renamed weight norm's parameters; checkpoints of both times are in use.
_RENAMED_ENDINGS = {
    "pos_conv_embed.conv.weight_g": "pos_conv_embed.conv.parametrizations.weight.original0",
    "pos_conv_embed.conv.weight_v": "pos_conv_embed.conv.parametrizations.weight.original1",
}


def read_weights(path: Path) -> object:
    """What a ``.safetensors`` file holds, or any other that ``torch.load`` reads as plain tensors.

    Raises:
        CheckpointError: unreadable, or it would need code to be run.
    """
    if path.suffix == ".safetensors":
        try:
            return load_file(path)
        except (SafetensorError, OSError) as error:
            raise CheckpointError(f"{path}: not a readable safetensors file ({error}).") from None
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch.load raises what its many parsers raise
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise CheckpointError(
            f"{path}: cannot be read with weights_only ({reason}). "
            "Save it again as a plain state dict, or as safetensors."
        ) from None


def checked_state(document: object, path: Path) -> Mapping[str, Tensor]:
    """``document`` if it is a state dict, nothing but named tensors; else CheckpointError."""
    if not isinstance(document, dict) or not all(
        isinstance(name, str) and isinstance(tensor, Tensor) for name, tensor in document.items()
    ):
        raise CheckpointError(f"{path}: expected a state dict of tensors.")
    return document


def load_strictly(model: nn.Module, state: Mapping[str, Tensor], where: str) -> None:
    """Load every tensor of a state dict, and no other, into ``model``.

    Raises:
        CheckpointError: a name is missing or unexpected, a shape is wrong, or a weight is not
            finite; the message says which, of the checkpoint ``where``.
    """
    state = {_current_name(name): tensor for name, tensor in state.items()}
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


def _current_name(name: str) -> str:
    for old, new in _RENAMED_ENDINGS.items():
        if name.endswith(old):
            return name.removesuffix(old) + new
    return name


def _some(names: list[str]) -> str:
    shown = ", ".join(names[:_NAMES_SHOWN])
    return shown if len(names) <= _NAMES_SHOWN else f"{shown} and {len(names) - _NAMES_SHOWN} more"
