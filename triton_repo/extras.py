"""The packages of the ``server`` extra, imported when needed, with the command to install them."""

from importlib import import_module
from types import ModuleType

from ..errors import MissingDependencyError


def server_extra(module: str) -> ModuleType:
    """The module of that full name, as ``tritonclient.grpc``.

    Raises:
        MissingDependencyError: it, or something it needs, is not installed.
    """
    try:
        return import_module(module)
    except ImportError as error:
        raise MissingDependencyError(
            f"{module} is needed for this and cannot be imported ({error}). "
            "Run: pip install 'muqrt[server]'"
        ) from error
