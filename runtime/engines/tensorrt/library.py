"""TensorRT's Python packages: TensorRT itself, and TensorRT for RTX, which has the same API."""

import importlib
import importlib.util
import re
import sys
from functools import cache
from pathlib import Path
from typing import Any

from ....errors import MissingDependencyError, SessionError

_KEPT_MESSAGES = 1000
OLDEST = (10, 13)  # the first with everything that is used here


def tensorrt() -> Any:
    """The package."""
    try:
        import tensorrt as trt
    except (ImportError, OSError) as error:
        raise MissingDependencyError(
            f"this needs TensorRT ({error}). Run: pip install 'muqrt[gpu]', or work in one of "
            "NVIDIA's Triton containers."
        ) from None
    if tuple(map(int, trt.__version__.split(".")[:2])) < OLDEST:
        oldest = ".".join(map(str, OLDEST))
        raise SessionError(f"TensorRT {trt.__version__} is too old: install {oldest} or newer.")
    return trt


def tensorrt_rtx() -> Any:
    """TensorRT for RTX: compiles on a machine without a GPU, too.

    Where the extra ``rtx`` is not installed, it is looked for in the environment's folder
    ``tensorrt-rtx``, where ``make setup`` puts it.

    Raises:
        MissingDependencyError: it is in neither, or its libraries cannot be loaded.
    """
    name, folder = "tensorrt_rtx_bindings", Path(sys.prefix, "tensorrt-rtx")
    if importlib.util.find_spec(name) is None and folder.is_dir():
        sys.path.append(str(folder))
    try:
        return importlib.import_module(name)
    except (ImportError, OSError) as error:
        raise MissingDependencyError(
            f"this needs TensorRT for RTX ({error}). Run: pip install 'muqrt[rtx]'"
        ) from None


def library_version(trt: Any) -> str:
    """A library's version, such as 10.14.1.48, without a package's suffix such as .post1."""
    return ".".join(re.findall(r"\d+", trt.__version__)[:4])


def full_name(trt: Any) -> str:
    """A library as messages name it, with its version."""
    name = "TensorRT for RTX" if "rtx" in trt.__name__ else "TensorRT"
    return f"{name} {library_version(trt)}"


def tensorrt_version() -> str:
    """TensorRT's version: see ``library_version``."""
    return library_version(tensorrt())


@cache
def message_log(trt: Any) -> Any:
    """The ``ILogger`` of a library, with its messages, in order, in the lists ``errors`` and
    ``warnings``.

    There is one in a process: as long as any builder or engine is alive, the library goes on
    writing to the log of the first, and ignores others. ``complaint()`` is the last error, or says
    that there was none; ``clear()`` forgets what others caused.
    """
    serious = (trt.ILogger.Severity.INTERNAL_ERROR, trt.ILogger.Severity.ERROR)

    class MessageLog(trt.ILogger):
        def __init__(self) -> None:
            super().__init__()
            self.errors: list[str] = []
            self.warnings: list[str] = []

        def log(self, severity: Any, msg: str) -> None:
            if severity in serious:
                self._keep(self.errors, msg)
            elif severity == trt.ILogger.Severity.WARNING:
                self._keep(self.warnings, msg)

        def complaint(self) -> str:
            return self.errors[-1] if self.errors else "it gave no reason."

        def clear(self) -> None:
            self.errors.clear()
            self.warnings.clear()

        def _keep(self, messages: list[str], message: str) -> None:
            messages.append(message.strip())
            del messages[:-_KEPT_MESSAGES]  # an engine may run for months

    return MessageLog()
