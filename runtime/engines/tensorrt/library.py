"""TensorRT's Python package."""

import re
from typing import Any

from ....errors import MissingDependencyError, SessionError

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


def tensorrt_version() -> str:
    """The library's version, such as 10.14.1.48, without a package's suffix such as .post1."""
    return ".".join(re.findall(r"\d+", tensorrt().__version__)[:4])


def message_log() -> Any:
    """An ``ILogger`` that keeps TensorRT's error messages, in order, in its list ``errors``.

    Its ``complaint()`` is the last of them, or says that there was none.
    """
    trt = tensorrt()
    serious = (trt.ILogger.Severity.INTERNAL_ERROR, trt.ILogger.Severity.ERROR)

    class MessageLog(trt.ILogger):  # type: ignore[name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.errors: list[str] = []

        def log(self, severity: Any, msg: str) -> None:
            if severity in serious:
                self.errors.append(msg.strip())

        def complaint(self) -> str:
            return self.errors[-1] if self.errors else "it gave no reason."

    return MessageLog()
