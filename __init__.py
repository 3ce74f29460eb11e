"""muqrt puts a trained MuQ into production.

    import muqrt
    model = muqrt.load("bundle/")
    embedding = model.embed("song.flac")    # (width,)
    features = model.features("song.flac")  # (steps, width), 25 a second

Everything else is the command line, ``muqrt --help``.
"""

from typing import TYPE_CHECKING, Any

from .errors import MuqrtError

if TYPE_CHECKING:
    from .runtime.model import Model, load

__all__ = ["Model", "MuqrtError", "load"]


def __getattr__(name: str) -> Any:
    # Loaded on first use, so that importing muqrt costs nothing.
    if name in ("Model", "load"):
        from .runtime import model

        return getattr(model, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
