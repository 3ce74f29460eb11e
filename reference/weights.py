"""Weights in a file: read without running code, and loaded strictly."""

import zipfile
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from ..errors import CheckpointError

WEIGHTS_FILE = "model.safetensors"
TORCH_WEIGHTS_FILE = "pytorch_model.bin"
_NAMES_SHOWN = 5
# So many modules, and so wide ones, can be sketched of any checkpoint, to say what it lacks.
_ALWAYS_PLAUSIBLE_COUNT, _ALWAYS_PLAUSIBLE_WIDTH = 64, 1 << 16
_FLOATS = {torch.float16, torch.bfloat16, torch.float32, torch.float64}
# torch renamed weight norm's parameters; checkpoints of both times are in use.
_OF_BOTH_TIMES = (
    (".weight_g", ".parametrizations.weight.original0"),
    (".weight_v", ".parametrizations.weight.original1"),
)
_Module = TypeVar("_Module", bound=nn.Module)


def weights_file(folder: Path) -> Path:
    """The file in a checkpoint's folder that has the weights.

    Raises:
        CheckpointError: there is none.
    """
    for name in (WEIGHTS_FILE, TORCH_WEIGHTS_FILE):
        if (folder / name).is_file():
            return folder / name
    raise CheckpointError(
        f"{folder}: {WEIGHTS_FILE} or {TORCH_WEIGHTS_FILE} is missing from this checkpoint."
    )


def read_weights(path: Path) -> object:
    """What a ``.safetensors`` file holds, or any other that ``torch.load`` reads as plain tensors.

    Raises:
        CheckpointError: unreadable, or it would need code to be run.
    """
    if path.suffix == ".safetensors":
        try:
            return load_file(path)
        except (SafetensorError, OSError, ValueError, RuntimeError) as error:
            raise CheckpointError(f"{path}: not a readable safetensors file ({error}).") from None
    try:
        _check_uncompressed(path)
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch.load raises what its many parsers raise
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise CheckpointError(
            f"{path}: cannot be read with weights_only ({reason}). "
            "Save it again as a plain state dict, or as safetensors."
        ) from None


def checked_state(document: object, where: Path | str) -> Mapping[str, Tensor]:
    """``document`` if it is a state dict, nothing but named tensors; else CheckpointError, which
    calls it ``where``."""
    if not isinstance(document, dict) or not all(
        isinstance(name, str) and isinstance(tensor, Tensor) for name, tensor in document.items()
    ):
        raise CheckpointError(f"{where}: expected a state dict of tensors.")
    for name, tensor in document.items():
        # A stride of 0 makes a few bytes a tensor of any size.
        if tensor.layout != torch.strided or tensor.nbytes > tensor.untyped_storage().nbytes():
            raise CheckpointError(f"{where}: {name} has fewer values than its shape says.")
    return document


def load_strictly(
    build: Callable[[], _Module],
    config: Mapping[str, Any],
    counts: Collection[str],
    state: Mapping[str, Tensor],
    where: str,
    config_name: str = "config.json",
) -> _Module:
    """Build a model and load every tensor of a state dict, and no other, into it.

    Nothing is allocated before the weights are known to be the model's.

    Args:
        build: makes the model that the configuration describes.
        config: the configuration; no number in it may be beyond what the weights can be of.
        counts: keys of the configuration whose numbers are of modules.
        state: the weights.
        where: what errors call the checkpoint.
        config_name: what they call the configuration.

    Returns:
        The model, in eval mode.

    Raises:
        CheckpointError: a name is missing or unexpected, a shape is wrong, or a weight is not
            finite; the message says which.
    """
    prefix = f"{where}: the weights are not those of its {config_name}."
    _check_sizes(config, counts, state, prefix)
    try:
        with torch.device("meta"):
            expected = build().state_dict()
    except (RuntimeError, ArithmeticError, TypeError, ValueError, MemoryError) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise CheckpointError(f"{where}: its {config_name} is no model's ({reason}).") from None
    state = {_as_expected(name, expected, state): tensor for name, tensor in state.items()}
    _check_names_and_shapes(expected, state, prefix)
    bad = [n for n, t in state.items() if t.is_floating_point() and not t.isfinite().all()]
    if bad:
        raise CheckpointError(f"{where}: NaN or infinite weights in {_some(bad)}.")
    model = build()
    model.load_state_dict(state)
    return model.eval()


def _check_names_and_shapes(
    expected: Mapping[str, Tensor], state: Mapping[str, Tensor], prefix: str
) -> None:
    misshapen = [
        f"{name} is {tuple(tensor.shape)}, expected {tuple(expected[name].shape)}"
        for name, tensor in state.items()
        if name in expected and tensor.shape != expected[name].shape
    ]
    mistyped = [
        f"{name} is {tensor.dtype}, expected {expected[name].dtype}"
        for name, tensor in state.items()
        if name in expected and tensor.dtype not in _types_for(expected[name])
    ]
    problems = {
        "missing": sorted(set(expected) - set(state)),
        "unexpected": sorted(set(state) - set(expected)),
        "wrong shape": misshapen,
        "wrong type": mistyped,
    }
    found = [f"{kind}: {_some(names)}" for kind, names in problems.items() if names]
    if found:
        raise CheckpointError(f"{prefix} {'; '.join(found)}.")


def _types_for(expected: Tensor) -> Collection[torch.dtype]:
    """What a weight may be stored as; a model that was halved as a whole has its counters so."""
    return _FLOATS if expected.is_floating_point() else {*_FLOATS, expected.dtype}


def _check_sizes(
    config: Mapping[str, Any], counts: Collection[str], state: Mapping[str, Tensor], prefix: str
) -> None:
    """Raise CheckpointError if a model could not even be sketched without memory and time."""
    largest = max((tensor.numel() for tensor in state.values()), default=0)
    for name, value in _integers(config):
        if name in counts and value > max(len(state), _ALWAYS_PLAUSIBLE_COUNT):
            raise CheckpointError(f"{prefix} {name} is {value}; there are {len(state)} weights.")
        if value > max(largest, _ALWAYS_PLAUSIBLE_WIDTH):
            raise CheckpointError(
                f"{prefix} {name} is {value}; the largest weight has {largest} values."
            )


def _integers(config: Mapping[str, Any]) -> Iterator[tuple[str, int]]:
    for name, value in config.items():
        if isinstance(value, Mapping):
            yield from _integers(value)
        elif isinstance(value, int):
            yield name, value


def _as_expected(name: str, expected: Collection[str], state: Collection[str]) -> str:
    """The name that the model has for a parameter of weight norm, whichever the file has."""
    if name not in expected:
        for pair in _OF_BOTH_TIMES:
            for own, other in (pair, pair[::-1]):
                renamed = name.removesuffix(own) + other
                if name.endswith(own) and renamed in expected and renamed not in state:
                    return renamed
    return name


def _check_uncompressed(path: Path) -> None:
    """Raise ValueError if a few bytes may unpack to any number; torch compresses nothing."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            unpacked = sum(each.file_size for each in archive.infolist())
        if unpacked > path.stat().st_size:
            raise ValueError("its content is compressed, which no checkpoint's is")


def _some(names: list[str]) -> str:
    shown = ", ".join(names[:_NAMES_SHOWN])
    return shown if len(names) <= _NAMES_SHOWN else f"{shown} and {len(names) - _NAMES_SHOWN} more"
