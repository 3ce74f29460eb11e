"""LogMel and MelRvq as TensorRT's ahead-of-time plugins ``muqrt::LogMel`` and ``muqrt::MelRvq``.

TensorRT asks a plugin for shapes, dtypes and a kernel's PTX while it builds an engine. The engine
then launches the kernel itself: running it needs neither Python nor this file. The signatures'
annotations are read by TensorRT, so they have to be objects, not text.
"""

import ctypes
from functools import cache
from typing import Any

from ..errors import KernelError, MissingDependencyError
from .log_mel.contract import HOP_SAMPLES, MELS
from .variant import Variant

_WARP_THREADS = 32
# Of shared memory: for more, TensorRT would have to ask the driver, and it is not known to.
_LAUNCH_BYTES = 48 * 1024
# CUdevice_attribute in cuda.h.
_COMPUTE_CAPABILITY_MAJOR, _COMPUTE_CAPABILITY_MINOR = 75, 76


@cache
def register_plugins() -> None:
    """Make TensorRT know the plugins; a second call does nothing.

    The ONNX parser takes them for the nodes ``LogMel`` and ``MelRvq`` that carry the attributes
    ``plugin_namespace="muqrt"``, ``plugin_version="1"`` and ``aot=1``.

    Raises:
        MissingDependencyError: TensorRT or Triton is not installed.
    """
    try:
        _register_log_mel()
        _register_mel_rvq()
    except ImportError as error:
        raise MissingDependencyError(
            f"Fused kernels in an engine need TensorRT and Triton ({error}): "
            "pip install 'muqrt[gpu]'"
        ) from error


def device_capability() -> int:
    """Compute capability, times ten, of the GPU that CUDA uses here: 90 for an H100.

    Raises:
        KernelError: there is no driver or no GPU.
    """
    device, major, minor = ctypes.c_int(), ctypes.c_int(), ctypes.c_int()
    try:
        cuda = ctypes.CDLL("libcuda.so.1")
    except OSError as error:
        raise KernelError(
            f"No NVIDIA driver ({error}). Build an engine on the machine that will run it."
        ) from error
    found = cuda.cuInit(0) == 0 and (
        # The thread's device if it has one, as TensorRT's threads do.
        cuda.cuCtxGetDevice(ctypes.byref(device)) == 0
        or cuda.cuDeviceGet(ctypes.byref(device), 0) == 0
    )
    if not found:
        raise KernelError(
            "The NVIDIA driver finds no GPU. Build an engine on the machine that will run it."
        )
    cuda.cuDeviceGetAttribute(ctypes.byref(major), _COMPUTE_CAPABILITY_MAJOR, device)
    cuda.cuDeviceGetAttribute(ctypes.byref(minor), _COMPUTE_CAPABILITY_MINOR, device)
    return 10 * major.value + minor.value


def _register_log_mel() -> None:
    import tensorrt as trt
    import tensorrt.plugin as trtp

    from .log_mel import triton as log_mel_triton

    @trtp.register("muqrt::LogMel")
    def describe(
        waveform: trtp.TensorDesc, tables: trtp.TensorDesc, mean_db: float, std_db: float
    ) -> trtp.TensorDesc:
        batch, samples = waveform.shape_expr
        return trtp.from_shape_expr((batch, MELS, samples // HOP_SAMPLES), trt.float32)

    @trtp.autotune("muqrt::LogMel")
    def combinations(
        waveform: trtp.TensorDesc, tables: trtp.TensorDesc, outputs: tuple[trtp.TensorDesc]
    ) -> list[trtp.AutoTuneCombination]:
        # A strongly typed network, TensorRT 11's only kind, keeps to the first: as described.
        return [trtp.AutoTuneCombination("FP32, FP32, FP32|FP16|BF16", "LINEAR")]

    @trtp.aot_impl("muqrt::LogMel")
    def implement(
        waveform: trtp.TensorDesc,
        tables: trtp.TensorDesc,
        mean_db: float,
        std_db: float,
        outputs: tuple[trtp.TensorDesc],
        tactic: int,
    ) -> tuple[str, str, trtp.KernelLaunchParams, trtp.SymExprs]:
        variant = log_mel_triton.variant(_triton_name(outputs[0].dtype), mean_db, std_db)
        batch, samples = waveform.shape_expr
        frames = samples // HOP_SAMPLES
        blocks = trtp.cdiv(frames, variant.constants["FRAMES"])
        return _launch(variant, (blocks, batch), (samples, samples, frames))


def _register_mel_rvq() -> None:
    import tensorrt as trt
    import tensorrt.plugin as trtp

    from .mel_rvq import triton as mel_rvq_triton

    @trtp.register("muqrt::MelRvq")
    def describe(
        log_mel: trtp.TensorDesc,
        projection: trtp.TensorDesc,
        bias: trtp.TensorDesc,
        codebooks: trtp.TensorDesc,
        corrections: trtp.TensorDesc,
        frames_per_step: int,
    ) -> trtp.TensorDesc:
        batch, _, frames = log_mel.shape_expr
        stages = codebooks.shape_expr[0]
        return trtp.from_shape_expr((batch, stages, frames // frames_per_step), trt.int32)

    @trtp.autotune("muqrt::MelRvq")
    def combinations(
        log_mel: trtp.TensorDesc,
        projection: trtp.TensorDesc,
        bias: trtp.TensorDesc,
        codebooks: trtp.TensorDesc,
        corrections: trtp.TensorDesc,
        outputs: tuple[trtp.TensorDesc],
    ) -> list[trtp.AutoTuneCombination]:
        types = "FP32|FP16|BF16, FP32, FP32, FP32, FP32, INT32"
        return [trtp.AutoTuneCombination(types, "LINEAR")]

    @trtp.aot_impl("muqrt::MelRvq")
    def implement(
        log_mel: trtp.TensorDesc,
        projection: trtp.TensorDesc,
        bias: trtp.TensorDesc,
        codebooks: trtp.TensorDesc,
        corrections: trtp.TensorDesc,
        frames_per_step: int,
        outputs: tuple[trtp.TensorDesc],
        tactic: int,
    ) -> tuple[str, str, trtp.KernelLaunchParams, trtp.SymExprs]:
        stages, codes, code_width = codebooks.shape
        variant = mel_rvq_triton.variant(
            _triton_name(log_mel.dtype),
            mels=log_mel.shape[1],
            frames_per_step=frames_per_step,
            stages=stages,
            codes=codes,
            code_width=code_width,
        )
        batch, _, frames = log_mel.shape_expr
        steps = frames // frames_per_step
        blocks = trtp.cdiv(steps, variant.constants["BLOCK"])
        return _launch(variant, (blocks, batch), (frames, steps))


def _triton_name(dtype: Any) -> str:
    import tensorrt as trt

    return {trt.float32: "fp32", trt.float16: "fp16", trt.bfloat16: "bf16"}[dtype]


def _launch(variant: Variant, grid: tuple[Any, Any], scalars: tuple[Any, ...]) -> tuple[Any, ...]:
    """What TensorRT needs to launch a kernel: name, PTX, sizes, scalars after the inputs."""
    import tensorrt.plugin as trtp

    from .ptx import ptx_of

    compiled = ptx_of(variant, device_capability())
    if compiled.shared_bytes > _LAUNCH_BYTES:
        raise KernelError(
            f"{compiled.name} for sm_{compiled.capability} needs {compiled.shared_bytes} bytes of "
            f"shared memory, and TensorRT launches plugins with {_LAUNCH_BYTES}. Without "
            "register_plugins() the engine is built from the node's plain operators."
        )
    launch = trtp.KernelLaunchParams(
        grid_x=grid[0],
        grid_y=grid[1],
        block_x=_WARP_THREADS * compiled.num_warps,
        shared_mem=compiled.shared_bytes,
    )
    extra = trtp.SymExprs.from_tuple(tuple(trtp.SymInt32(each) for each in scalars))
    return compiled.entry, compiled.ptx, launch, extra
