"""ONNX to TensorRT plan, on the GPU that will run it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ....common.files import atomic_file
from ....errors import BuildError, UsageError
from ....kernels.plugins import register_plugins
from ....runtime.bundle.engine_options import EngineOptions
from ....runtime.engines.session import WAVEFORM
from ....runtime.engines.tensorrt.library import message_log, tensorrt
from .parsing import parsed
from .progress import reported


def engine_from_onnx(
    onnx_path: Path, options: EngineOptions, on_step: Callable[[str], None] = lambda what: None
) -> bytes:
    """Build a graph's engine, strongly typed: it computes in the dtypes of the graph's tensors.

    Args:
        onnx_path: the graph, its external data beside it; the input ``waveform`` is (batch,
            samples) float32.
        options: shapes, fused kernels and so on. Their timing cache is written even when the build
            fails or is interrupted.
        on_step: called with every step's phase.

    Returns:
        The plan, for this TensorRT and this kind of GPU.

    Raises:
        BuildError: TensorRT does not take the graph, or finds no way to run it. KernelError: a
            fused kernel cannot be compiled for this GPU. MissingDependencyError: no TensorRT, or
            no Triton for the fused kernels. SessionError: TensorRT is too old.
    """
    trt = tensorrt()
    if options.fused_kernels:
        register_plugins()
    elif register_plugins.cache_info().currsize:
        raise BuildError(
            "an engine with the fused kernels was built in this process, and TensorRT would take "
            "them again: build the one without them in a new process."
        )
    log = message_log(trt)
    log.clear()
    try:
        builder = trt.Builder(log)
    except TypeError:  # what the binding makes of the library's null
        raise BuildError(f"TensorRT cannot use this GPU: {log.complaint()}") from None
    # TensorRT 11 knows no other network; 10 wants to be told.
    strongly_typed = 1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
    network = builder.create_network(strongly_typed)
    parser = parsed(trt, network, onnx_path, log)
    _require_waveform(network, onnx_path)
    config = _configured(builder, network, options)
    with timing_cache(config, options.timing_cache), reported(trt, config, on_step):
        plan = builder.build_serialized_network(network, config)
    del parser  # not before: the network's weights are the parser's
    if plan is None:
        raise BuildError(
            f"{onnx_path}: TensorRT {trt.__version__} built no engine: {log.complaint()} If it is "
            "memory: end what else uses the GPU, or build for smaller batches and windows."
        )
    return bytes(plan)


def engine_layers(plan: bytes, version_compatible: bool) -> str:
    """Describe every layer of an engine as JSON, from TensorRT's inspector: with names, kernels,
    dtypes and shapes where the engine was built with ``EngineOptions.inspect``.

    Raises:
        BuildError: the plan cannot be loaded.
    """
    trt = tensorrt()
    log = message_log(trt)
    log.clear()
    runtime = trt.Runtime(log)
    runtime.engine_host_code_allowed = version_compatible
    engine = runtime.deserialize_cuda_engine(plan)
    if engine is None:
        raise BuildError(f"the new engine cannot be loaded: {log.complaint()}")
    inspector = engine.create_engine_inspector()
    return str(inspector.get_engine_information(trt.LayerInformationFormat.JSON))


@contextmanager
def timing_cache(config: Any, path: Path | None) -> Iterator[None]:
    """Load a file of layer timings into a builder's configuration and save it again afterwards.

    They are written after a failed or interrupted build too. Those of another TensorRT or another
    GPU are replaced. ``path`` None keeps nothing.

    Raises:
        UsageError: the file cannot be read.
    """
    if path is None:
        yield
        return
    try:
        kept = path.read_bytes() if path.exists() else b""
    except OSError as error:
        raise UsageError(f"{path}: not a timing cache: {error}") from None
    if not _accepts(config, kept):
        _accepts(config, b"")
    try:
        yield
    finally:
        cache = config.get_timing_cache()
        with atomic_file(path) as temporary:
            temporary.write_bytes(bytes(cache.serialize()))


def _accepts(config: Any, measurements: bytes) -> bool:
    cache = config.create_timing_cache(measurements)
    return cache is not None and config.set_timing_cache(cache, ignore_mismatch=False)


def _require_waveform(network: Any, onnx_path: Path) -> None:
    inputs = [network.get_input(i) for i in range(network.num_inputs)]
    names = ", ".join(tensor.name for tensor in inputs)
    if [(tensor.name, len(tensor.shape)) for tensor in inputs] != [(WAVEFORM, 2)]:
        raise BuildError(
            f"{onnx_path}: its inputs are {names}; an engine is "
            f"built of a graph from {WAVEFORM}, (batch, samples), as muqrt export writes it."
        )


def _configured(builder: Any, network: Any, options: EngineOptions) -> Any:
    trt = tensorrt()
    config = builder.create_builder_config()
    config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, options.workspace_bytes)
    config.builder_optimization_level = options.optimization_level
    # TensorRT's default lets float32 products have TF32's 10 bits of mantissa: the fp32 gate and
    # the log-mel of every precision need all of them.
    config.clear_flag(trt.BuilderFlag.TF32)
    for flag in _flags(options):
        config.set_flag(flag)
    if options.inspect:
        config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    levels = trt.HardwareCompatibilityLevel.__members__
    level = options.hardware_compatibility.upper()
    if level not in levels:
        raise BuildError(f"TensorRT {trt.__version__} has no hardware compatibility {level}.")
    config.hardware_compatibility_level = levels[level]
    for wanted in options.profiles:
        profile = builder.create_optimization_profile()
        profile.set_shape(WAVEFORM, *wanted.waveforms)
        if config.add_optimization_profile(profile) < 0:
            raise BuildError(f"TensorRT {trt.__version__} refused the profile of {wanted}.")
    return config


def _flags(options: EngineOptions) -> list[Any]:
    trt = tensorrt()
    found = []
    if options.version_compatible:
        found.append(trt.BuilderFlag.VERSION_COMPATIBLE)
    if options.refit:
        found.append(trt.BuilderFlag.REFIT)
    if options.stripped:
        # Identical weights may be fused and folded, any others not.
        found += [trt.BuilderFlag.STRIP_PLAN, trt.BuilderFlag.REFIT_IDENTICAL]
    if options.weight_streaming:
        found.append(trt.BuilderFlag.WEIGHT_STREAMING)
    return found
