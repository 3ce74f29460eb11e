"""Import packages of the ``server`` extra, or say how to install them."""

from importlib import import_module
from types import ModuleType

from ..errors import MissingDependencyError


def server_extra(module: str) -> ModuleType:
    """Import a module by its full name, for example ``tritonclient.grpc``.

    Raises:
        MissingDependencyError: the module, or one that it needs, is not installed.
    """
    try:
        return import_module(module)
    except ImportError as error:
        raise MissingDependencyError(
            f"{module} is needed for this and cannot be imported ({error}). "
            "Run: pip install 'muqrt[server]'"
        ) from error
