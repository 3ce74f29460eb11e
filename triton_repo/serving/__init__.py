"""The models that ``model.py`` files in model repositories import from here.

These names do not change between versions. Only the server's Python can import them.
"""

from importlib import import_module
from typing import Any

_MODULES = {
    "EngineModel": "muq",
    "StreamModel": "muq_stream",
    "TextModel": "mulan_text",
    "ZeroShotModel": "zeroshot",
}
__all__ = ["script_of", *_MODULES]


def script_of(model: str) -> str:
    """The text of a ``model.py``.

    Args:
        model: name of one of the classes.
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
