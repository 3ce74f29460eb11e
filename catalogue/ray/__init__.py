"""Ray as an engine for catalogues, and a model for pipelines of Ray Data: ``muqrt.ray``."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .embedder import Embedder

__all__ = ["Embedder"]


def __getattr__(name: str) -> Any:
    if name != "Embedder":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return import_module(".embedder", __name__).Embedder
