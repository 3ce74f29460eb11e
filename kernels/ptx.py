"""A variant as PTX for one GPU architecture: compiled on any machine, measured, kept in a cache."""

import hashlib
import json
import re
import subprocess
import tempfile
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import triton
from triton.backends.compiler import GPUTarget
from triton.backends.nvidia.compiler import get_ptxas
from triton.compiler import ASTSource

from ..common.files import atomic_file, cache_folder
from ..errors import KernelError
from .variant import Variant

_KIB = 1024  # bytes
# The most shared memory that a block may ask for, by compute capability (CUDA C++ Programming
# Guide, "Technical Specifications per Compute Capability").
_SHARED_BYTES = {
    80: 163 * _KIB,
    86: 99 * _KIB,
    87: 163 * _KIB,
    89: 99 * _KIB,
    90: 227 * _KIB,
    100: 227 * _KIB,
    103: 227 * _KIB,
    120: 99 * _KIB,
    121: 99 * _KIB,
}
# PTX 8.7 is CUDA 12.8's. Newer PTX, which newer Tritons would write, needs a newer driver.
_PTX_VERSION, _PTX_VERSIONS = 87, {103: 88, 121: 88}


@dataclass(frozen=True)
class Compiled:
    """A kernel that a driver can load, and what it takes of the GPU.

    Attributes:
        name: the variant's.
        capability: of the only GPUs it runs on: 90 is compute capability 9.0.
        entry: the kernel's name in the PTX.
        num_warps: of a block, 32 threads each.
        registers: of a thread.
        shared_bytes: of a block, to be given at the launch.
        spill_bytes: what a thread writes to and reads from memory for want of registers.
        scratch_bytes: global memory that a launch would have to bring along.
        ptx: its entry's parameters are the variant's arguments and nothing else.
    """

    name: str
    capability: int
    entry: str
    num_warps: int
    registers: int
    shared_bytes: int
    spill_bytes: int
    scratch_bytes: int
    ptx: str


def ptx_of(variant: Variant, capability: int) -> Compiled:
    """Compile for one architecture, or take what an earlier run compiled.

    The cache holds what was compiled from the same source (its helpers' included), constants and
    options by the same Triton.

    Args:
        variant: what to compile.
        capability: 90 for compute capability 9.0.

    Raises:
        KernelError: the architecture is unknown, the kernel does not fit it or spills, or
            TRITON_INTERPRET is set.
    """
    if capability not in _SHARED_BYTES:
        known = ", ".join(f"sm_{each}" for each in _SHARED_BYTES)
        raise KernelError(
            f"{variant.name} cannot be compiled for sm_{capability}, only for {known}."
        )
    if not isinstance(variant.kernel, triton.JITFunction):
        raise KernelError(
            f"{variant.name} was imported with TRITON_INTERPRET set and cannot be compiled: unset "
            "it and start again."
        )
    path = _cache_path(variant, capability)
    with suppress(OSError, ValueError, TypeError):  # absent, or not written by this version
        return Compiled(**json.loads(path.read_text(encoding="utf-8")))
    compiled = _compiled(variant, capability)
    with suppress(OSError), atomic_file(path) as file:  # without a cache the next run is slower
        file.write_text(json.dumps(asdict(compiled)), encoding="utf-8")
    return compiled


def _cache_path(variant: Variant, capability: int) -> Path:
    """The cached PTX's path, named by a hash of all that it depends on."""
    parts = (
        triton.__version__,
        Path(__file__).read_text(encoding="utf-8"),
        variant.kernel.cache_key,  # of its source and of every function it calls
        sorted(variant.signature.items()),
        sorted(variant.constants.items()),
        sorted(variant.aligned),
        (variant.num_warps, variant.num_stages),
    )
    digest = hashlib.sha256(repr(parts).encode()).hexdigest()[:16]
    return cache_folder() / "kernels" / f"{variant.name}-sm_{capability}-{digest}.json"


def _compiled(variant: Variant, capability: int) -> Compiled:
    ptx, details = _translated(variant, capability)
    where = f"{variant.name} for sm_{capability}"
    scratch_bytes = details.global_scratch_size + details.profile_scratch_size
    if scratch_bytes:
        raise KernelError(
            f"{where} needs {scratch_bytes} bytes of scratch memory; no caller has any."
        )
    limit = _SHARED_BYTES[capability]
    if details.shared > limit:
        raise KernelError(
            f"{where} needs {details.shared} bytes of shared memory a block, of {limit}: give it a "
            "smaller block or fewer stages."
        )
    ptx = _without_scratch(ptx, details.name, len(variant.signature))
    registers, spill_bytes = _assembled(ptx, capability, where)
    if spill_bytes:
        raise KernelError(
            f"{where} spills {spill_bytes} bytes a thread, which makes it slow: give it a smaller "
            "block or more warps."
        )
    return Compiled(
        name=variant.name,
        capability=capability,
        entry=details.name,
        num_warps=details.num_warps,
        registers=registers,
        shared_bytes=details.shared,
        spill_bytes=spill_bytes,
        scratch_bytes=scratch_bytes,
        ptx=ptx,
    )


def _translated(variant: Variant, capability: int) -> tuple[str, Any]:
    """Triton's PTX, and what it says of it."""
    names = variant.kernel.arg_names
    source = ASTSource(
        variant.kernel,
        {name: variant.signature.get(name, "constexpr") for name in names},
        dict(variant.constants),
        {(names.index(name),): [["tt.divisibility", 16]] for name in variant.aligned},
    )
    options = {
        "num_warps": variant.num_warps,
        "num_stages": variant.num_stages,
        "enable_fp_fusion": True,
        "ptx_version": _PTX_VERSIONS.get(capability, _PTX_VERSION),
    }
    with triton.knobs.compilation.scope():
        # Line numbers would bring this machine's paths into the PTX.
        triton.knobs.compilation.disable_line_info = True
        built = triton.compile(source, target=GPUTarget("cuda", capability, 32), options=options)
    return built.asm["ptx"], built.metadata


def _without_scratch(ptx: str, entry: str, arguments: int) -> str:
    """Drop the parameters after the variant's: Triton adds pointers to scratch memory."""
    start = ptx.index(f".entry {entry}(") + len(f".entry {entry}(")
    end = ptx.index(")", start)
    parameters = ptx[start:end].rstrip().split(",")
    return f"{ptx[:start]}{','.join(parameters[:arguments])}\n{ptx[end:]}"


def _assembled(ptx: str, capability: int, where: str) -> tuple[int, int]:
    """What the assembler says of the kernel: registers of a thread, bytes it spills."""
    target = re.findall(r"^\.target (\w+)", ptx, re.MULTILINE)[0]
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "kernel.ptx"
        source.write_text(ptx, encoding="utf-8")
        command = [
            get_ptxas(capability).path,
            "-v",
            f"--gpu-name={target}",
            str(source),
            "-o",
            f"{source}.cubin",
        ]
        done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise KernelError(f"{where} is refused by ptxas: {done.stderr.strip()}")
    registers = re.findall(r"Used (\d+) registers", done.stderr)
    spills = re.findall(r"(\d+) bytes spill (?:stores|loads)", done.stderr)
    return max(map(int, registers)), sum(map(int, spills))
