"""Ray as an engine for catalogues, with a bundle for Ray Data and Ray Serve: ``muqrt.ray``."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .embedder import Embedder
    from .serving import application

__all__ = ["Embedder", "application"]
_MODULES = {"Embedder": ".embedder", "application": ".serving"}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_MODULES[name], __name__), name)
