"""The public names, imported when they are first used."""

from importlib import import_module
from typing import Any

from ..common.environment import import_extra

MODULES = {
    "MuQ": ".muq",
    "MuQConfig": ".configs",
    "MuQMuLan": ".mulan",
    "MuQMuLanConfig": ".configs",
    "install": ".install",
}


def load(name: str) -> Any:
    """What a public name stands for.

    Raises:
        MissingDependencyError: the extra is not installed.
    """
    if name != "install":  # which imports nothing before a script does
        import_extra("drop-in", "torch", "onnx", "safetensors", "huggingface_hub")
    return getattr(import_module(MODULES[name], __package__), name)
