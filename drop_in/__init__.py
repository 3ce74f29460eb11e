"""The official package's classes, answered by bundles: ``from muqrt.drop_in import MuQ, MuQMuLan``.

Signatures and numbers are those of the package ``muq``; what computes them is an artefact that was
proven against the PyTorch reference. Training stays with the official package and ``muqrt train``.
"""

from typing import TYPE_CHECKING, Any

from .names import MODULES, load

if TYPE_CHECKING:
    from .configs import MuQConfig, MuQMuLanConfig
    from .install import install
    from .mulan import MuQMuLan
    from .muq import MuQ

__all__ = ["MuQ", "MuQConfig", "MuQMuLan", "MuQMuLanConfig", "install"]


def __getattr__(name: str) -> Any:
    if name not in MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = found = load(name)
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
