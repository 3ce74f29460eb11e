"""The TensorRT and the GPUs of a machine, which decide what plans it can run."""

import shutil
import subprocess
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

# Some package names include the CUDA version.
_PACKAGES = ("tensorrt", "tensorrt_cu13", "tensorrt_cu12")


@dataclass(frozen=True)
class Machine:
    """The machine that a server runs on.

    Attributes:
        tensorrt: version of the library, or its first parts (10.13); None if unknown.
        compute_capabilities: one for each GPU (9.0); empty if unknown.
    """

    tensorrt: str | None = None
    compute_capabilities: tuple[str, ...] = ()

    def has_tensorrt(self, full_version: str) -> bool:
        """Whether the known part of its TensorRT version agrees with this version."""
        known = (self.tensorrt or "").split(".")
        return all(ours == its for ours, its in zip(known, full_version.split("."), strict=False))


def this_machine() -> Machine:
    """This machine: TensorRT's Python package, and the GPUs that the driver lists."""
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
