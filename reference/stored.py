"""A module on disk: a folder with its configuration as JSON and its weights as safetensors."""

import json
from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import TypeAdapter, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from ..common.documents import read_json
from ..common.files import atomic_folder, disk_full_error
from ..common.validation import first_problem
from ..errors import CheckpointError
from .weights import load_strictly

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

_Config = TypeVar("_Config", bound="DataclassInstance")
_Module = TypeVar("_Module", bound=nn.Module)


def save_tensors(
    tensors: Mapping[str, Tensor], path: Path, metadata: Mapping[str, str] | None = None
) -> None:
    """Write a safetensors file with the permissions of the user's other files.

    Args:
        tensors: by name.
        path: of the file.
        metadata: what the file says of itself.

    Raises:
        OSError: the disk is full. CheckpointError: it cannot be written.
    """
    path.touch()  # gets the user's usual mode, where safetensors would make it 0600
    mode = path.stat().st_mode
    whole = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    try:
        save_file(whole, path, metadata={"format": "pt", **(metadata or {})})
    except SafetensorError as error:
        if (full := disk_full_error(error, path)) is not None:
            raise full from None
        raise CheckpointError(f"{path}: cannot be written ({error}).") from None
    path.chmod(mode)


def save_module(module: nn.Module, config: Any, folder: Path, name: str) -> None:
    """Write ``name.json``, a dataclass, and ``name.safetensors``; the folder is replaced whole."""
    with atomic_folder(folder) as temporary:
        text = json.dumps(asdict(config), indent=2, ensure_ascii=False)
        (temporary / f"{name}.json").write_text(text + "\n", encoding="utf-8")
        save_tensors(module.state_dict(), temporary / f"{name}.safetensors")


def load_module(
    folder: Path,
    name: str,
    config_type: type[_Config],
    build: Callable[[_Config], _Module],
    counts: Collection[str],
) -> tuple[_Module, _Config]:
    """Read what ``save_module`` wrote: the module in eval mode, and its configuration.

    Raises:
        CheckpointError: no such folder, a configuration with a field wrong or unknown, or weights
            that are not its own or not finite.
    """
    path = folder / f"{name}.json"
    try:
        document = json.dumps(read_json(path))
        config = TypeAdapter(config_type).validate_json(document)
        state = load_file(folder / f"{name}.safetensors")
    except ValidationError as error:
        raise CheckpointError(f"{path}: {first_problem(error)}.") from None
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise CheckpointError(f"{folder}: no {name} such as muqrt writes ({error}).") from None
    sizes = {key: value for key, value in asdict(config).items() if key != "figures"}
    module = load_strictly(lambda: build(config), sizes, counts, state, str(folder), path.name)
    return module, config
