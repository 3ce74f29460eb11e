"""A module on disk: a folder with its configuration as JSON and its weights as safetensors."""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from ..common.files import atomic_folder
from ..common.validation import first_problem
from ..errors import CheckpointError

_Config = TypeVar("_Config")
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
        CheckpointError: it cannot be written.
    """
    path.touch()  # gets the user's usual mode, where safetensors would make it 0600
    mode = path.stat().st_mode
    whole = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    try:
        save_file(whole, path, metadata={"format": "pt", **(metadata or {})})
    except SafetensorError as error:
        raise CheckpointError(f"{path}: cannot be written ({error}).") from None
    path.chmod(mode)


def save_module(module: nn.Module, config: Any, folder: Path, name: str) -> None:
    """Write ``name.json``, a dataclass, and ``name.safetensors``; the folder is replaced whole."""
    with atomic_folder(folder) as temporary:
        text = json.dumps(asdict(config), indent=2, ensure_ascii=False)
        (temporary / f"{name}.json").write_text(text + "\n", encoding="utf-8")
        save_tensors(module.state_dict(), temporary / f"{name}.safetensors")


def load_module(
    folder: Path, name: str, config_type: type[_Config], build: Callable[[_Config], _Module]
) -> tuple[_Module, _Config]:
    """Read what ``save_module`` wrote: the module in eval mode, and its configuration.

    Raises:
        CheckpointError: no such folder, a configuration with a field wrong or unknown, or weights
            that are not its own or not finite.
    """
    path = folder / f"{name}.json"
    try:
        document = path.read_text(encoding="utf-8")
        config = TypeAdapter(config_type).validate_json(document, extra="forbid")
        state = load_file(folder / f"{name}.safetensors")
    except ValidationError as error:
        raise CheckpointError(f"{path}: {first_problem(error)}.") from None
    except (OSError, UnicodeDecodeError, SafetensorError) as error:
        raise CheckpointError(f"{folder}: no {name} such as muqrt writes ({error}).") from None
    module = build(config)
    try:
        module.load_state_dict(state)
    except RuntimeError as error:
        raise CheckpointError(f"{folder}: not the weights of its {path.name}: {error}") from None
    if not all(tensor.isfinite().all() for tensor in state.values()):
        raise CheckpointError(f"{folder}: NaN or infinite weights.")
    return module.eval(), config
