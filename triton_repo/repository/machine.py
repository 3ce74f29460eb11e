"""Which TensorRT plans a machine can run: its TensorRT and its GPUs."""

import shutil
import subprocess
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

# The package is called after the CUDA version too.
_PACKAGES = ("tensorrt", "tensorrt_cu13", "tensorrt_cu12")


@dataclass(frozen=True)
class Machine:
    """What a server will find where it runs.

    Attributes:
        tensorrt: the library's version, or its beginning, as 10.13; None if it is not known.
        compute_capabilities: one for each GPU, as 9.0; empty if they are not known.
    """

    tensorrt: str | None = None
    compute_capabilities: tuple[str, ...] = ()

    def has_tensorrt(self, full_version: str) -> bool:
        """Whether its TensorRT is this one, as far as it is known."""
        known = (self.tensorrt or "").split(".")
        return all(ours == its for ours, its in zip(known, full_version.split("."), strict=False))


def this_machine() -> Machine:
    """What is installed here: TensorRT's Python package, and the GPUs that the driver lists."""
    return Machine(_tensorrt(), _compute_capabilities())


def _tensorrt() -> str | None:
    for package in _PACKAGES:
        for name in (package, f"{package}_bindings"):
            try:
                return version(name)
            except PackageNotFoundError:
                continue
    return None


def _compute_capabilities() -> tuple[str, ...]:
    program = shutil.which("nvidia-smi")
    if program is None:
        return ()
    query = [program, "--query-gpu=compute_cap", "--format=csv,noheader"]
    try:
        done = subprocess.run(query, capture_output=True, text=True, timeout=30, check=True)
    except (OSError, subprocess.SubprocessError):
        return ()
    return tuple(line.strip() for line in done.stdout.splitlines() if line.strip())
