"""What is installed, and the hardware and versions that a figure was measured with."""

import os
import platform
import subprocess
import sys
from contextlib import suppress
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import ModuleType

from ..errors import MissingDependencyError

_PACKAGES = ("muqrt", "numpy", "onnxruntime", "openvino", "onnx", "torch")
# By the flags of /proc/cpuinfo.
_INSTRUCTION_SETS = {
    "avx2": "AVX2",
    "avx_vnni": "AVX-VNNI",
    "avx512bw": "AVX-512",
    "avx512_vnni": "AVX-512 VNNI",
    "avx512_bf16": "AVX-512 BF16",
    "amx_int8": "AMX",
}
_ARM = ("implementer", "part")  # what tells its cores apart in /proc/cpuinfo


def environment() -> dict[str, str]:
    """Hardware, operating system, package versions and, in a checkout, the commit."""
    found = {
        "cpu": cpu_name(),
        "processor": processor_kind(),
        "cores": str(os.cpu_count()),
        "system": platform.platform(),
        "python": platform.python_version(),
    }
    found.update({name: installed(name) or "not installed" for name in _PACKAGES})
    commit = _commit()
    return found | ({"commit": commit} if commit else {})


def installed(package: str) -> str | None:
    """Version of an installed distribution, None when it is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def import_extra(extra: str, module: str, *others: str) -> ModuleType:
    """Import modules that only some commands need, by their full names; return the first.

    Raises:
        MissingDependencyError: one cannot be imported; the message says why, and names the extra
            that has it.
    """
    for name in (module, *others):
        try:
            import_module(name)
        except ImportError as error:
            raise MissingDependencyError(
                f"{name} is needed for this and cannot be imported ({error}). "
                f"Run: pip install 'muqrt[{extra}]'"
            ) from error
    return sys.modules[module]


def hardware_name(device: str) -> str:
    """Name of the processor ("cpu") or the GPU ("cuda"), as the system or the driver reports it."""
    if device == "cpu":
        return cpu_name()
    import torch

    return torch.cuda.get_device_name()


def cpu_name() -> str:
    """The processor's name, as the system reports it; of an ARM core its maker and model's numbers.

    Linux names no model of those: Cortex-A72 is "aarch64, implementer 0x41, part 0xd08".
    """
    found = _cpuinfo()
    if not found:
        return platform.processor() or platform.machine()
    if "model name" in found:
        return found["model name"]
    numbers = [f"{each} {found[f'CPU {each}']}" for each in _ARM if f"CPU {each}" in found]
    return ", ".join([platform.machine(), *numbers])


def processor_kind() -> str:
    """Which class of x86 processor it is, which its name need not say: family, model and the
    instruction sets that products of matrices use. The machine's architecture elsewhere.
    """
    found = _cpuinfo()
    if "cpu family" not in found:
        return platform.machine()
    family = f"family {found['cpu family']} model {found.get('model', '?')}"
    return ", ".join([family, *instruction_sets()])


def instruction_sets() -> list[str]:
    """The instruction sets of an x86 processor that products of matrices use, from old to new."""
    flags = _cpuinfo().get("flags", "").split()
    return [name for flag, name in _INSTRUCTION_SETS.items() if flag in flags]


def _cpuinfo() -> dict[str, str]:
    """What Linux says of the first processor; empty elsewhere."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return {}
    found: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if colon:
            found.setdefault(name.strip(), value.strip())
    return found


def gpu_names() -> list[str]:
    """The names of NVIDIA's GPUs, as their driver for Linux reports them."""
    names = []
    for path in sorted(Path("/proc/driver/nvidia/gpus").glob("*/information")):
        with suppress(OSError):
            lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
            names += [line.split(":", 1)[1].strip() for line in lines if line.startswith("Model:")]
    return names


def _commit() -> str | None:
    """The checkout's commit, marked when files differ from it; None outside a checkout."""
    here = Path(__file__).resolve().parents[1]
    if not (here / ".git").exists():
        return None
    command = ["git", "-C", str(here), "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
