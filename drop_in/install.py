"""Put the drop-in where scripts look for the official package."""

import sys
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

from ..errors import UsageError
from .names import load
from .usual import USUAL

# Modules of the official package that scripts import from, and the names in each.
_MUQ, _MULAN = ("MuQ", "MuQConfig"), ("MuQMuLan", "MuQMuLanConfig")
_MODULES = {
    "muq": (*_MUQ, *_MULAN),
    "muq.muq": _MUQ,
    "muq.muq.muq": _MUQ,
    "muq.muq_mulan": _MULAN,
    "muq.muq_mulan.muq_mulan": _MULAN,
}


class _Module(ModuleType):
    """A module of the official package's name; its classes are imported when they are used."""

    def __init__(self, name: str, names: tuple[str, ...]) -> None:
        super().__init__(name, f"{name}, answered by muqrt.drop_in.")
        self.__path__: list[str] = []
        self.__spec__ = ModuleSpec(name, None, is_package=True)  # find_spec refuses None
        self._names = names

    def __getattr__(self, name: str) -> Any:
        if name not in self._names:
            raise AttributeError(
                f"muqrt.drop_in has no {self.__name__}.{name}; it has {', '.join(self._names)}."
            )
        return load(name)


def install(artefact: str | None = None) -> None:
    """Let ``import muq`` in this process find the drop-in, whether muq is installed or not.

    Args:
        artefact: what ``from_pretrained`` takes where it is given none, such as onnx-int8.

    Raises:
        UsageError: the official package is imported already.
    """
    found = sys.modules.get("muq")
    if found is not None and not isinstance(found, _Module):
        raise UsageError(
            f"muq is imported already, from {getattr(found, '__file__', None)}: call "
            "muqrt.drop_in.install() first."
        )
    USUAL.artefact = artefact
    modules = {name: _Module(name, names) for name, names in _MODULES.items()}
    for name, module in modules.items():
        parent, _, child = name.rpartition(".")
        if parent:
            setattr(modules[parent], child, module)
    sys.modules.update(modules)
