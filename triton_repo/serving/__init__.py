"""The models that ``model.py`` files in model repositories import from here.

These names do not change between versions. Only the server's Python can import them.
"""

from importlib import import_module
from typing import Any

_MODULES = {
    "EngineModel": "muq",
    "StreamModel": "muq_stream",
    "TextModel": "mulan_text",
    "TrackModel": "track",
    "ZeroShotModel": "zeroshot",
}
__all__ = ["EARLIER_SCRIPTS", "script_of", *_MODULES]

# The SHA-256 of each ``model.py`` of an earlier version that still runs, and the class it is now.
EARLIER_SCRIPTS = {
    "77e030e6dc51b833bd4556cbd69dd3ce7e05991b0744c588c4b62cd7c361ec3e": "EngineModel",
    "0c58a50cee58778fec94c1154fae82f1ab0f48c16b819b33258774e6c189a3e1": "StreamModel",
    "0d428b9953a705e85c48b28ef93daca8e69616aa93a1d5bd8c09c3f24c4c19bd": "TextModel",
    "1b539b49df8efb37a843ee416956177707d6f00e685e6185cd9bfa011637f401": "ZeroShotModel",
}


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
