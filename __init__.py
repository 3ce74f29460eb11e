"""muqrt puts a trained MuQ into production.

    import muqrt
    model = muqrt.load("bundle/")
    embedding = model.embed("song.flac")    # (width,)
    features = model.features("song.flac")  # (steps, width), 25 a second

Everything else is the command line, ``muqrt --help``.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .errors import MuqrtError

if TYPE_CHECKING:
    from .runtime.load import load
    from .runtime.model import Model

__all__ = ["Model", "MuqrtError", "load"]

_MODULES = {"Model": ".runtime.model", "load": ".runtime.load"}


def __getattr__(name: str) -> Any:
    # Loaded on first use, so that importing muqrt costs nothing.
    if name in _MODULES:
        return getattr(import_module(_MODULES[name], __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
