"""What a ``model.py`` of a model repository imports, and the only thing: its names stay.

The server's Python loads each when it is used; they cannot be imported elsewhere.
"""

from importlib import import_module
from typing import Any

_MODULES = {
    "EngineModel": "muq",
    "StreamModel": "muq_stream",
    "TextModel": "mulan_text",
    "ZeroShotModel": "zeroshot",
}


def script_of(model: str) -> str:
    """The text of the ``model.py`` of one of these models.

    Args:
        model: the class's name.
    """
    return (
        f'"""Written by muqrt, which has to be installed in the server\'s Python."""\n\n'
        f"from {__name__} import {model} as TritonPythonModel\n\n"
        f'__all__ = ["TritonPythonModel"]\n'
    )


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        module = f"..backends.python.{_MODULES[name]}"
        return getattr(import_module(module, __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
