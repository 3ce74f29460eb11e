"""ONNX to an engine of TensorRT for RTX, on any machine: a GPU is not needed."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ....errors import BuildError
from ....runtime.bundle.engine_options import RtxTarget, Shape
from ....runtime.engines.tensorrt.library import (
    full_name,
    library_version,
    message_log,
    tensorrt_rtx,
)
from ..tensorrt.parsing import parsed
from ..tensorrt.progress import reported

TURING: RtxTarget = "sm75"
# By what the compiler says.
_CURES = {
    "FP32 GEMM is not supported": "Turing multiplies no computed float32 matrices, so it has no "
    "float32 attention: build from the fp16 or int8-qdq artefact.",
    "datatypes: b16": "bf16 is for sm80 and newer: build from the fp16 artefact.",
    "datatypes: fp8": "fp8 is for sm89 and newer: build from the fp16 or int8-qdq artefact.",
}
# Of each input by name: its smallest, likeliest and largest shape.
Shapes = Mapping[str, tuple[Shape, Shape, Shape]]


@dataclass(frozen=True)
class RtxEngine:
    """An engine before it has seen a GPU.

    Attributes:
        content: the file's, for this version of the library and for its targets only.
        warnings: what parser and compiler said, in order.
        version: the library's, such as 1.7.1.116.
    """

    content: bytes
    warnings: tuple[str, ...]
    version: str


def compile_for_rtx(
    onnx_path: Path,
    targets: Sequence[RtxTarget],
    profiles: Sequence[Shapes],
    on_step: Callable[[str], None] = lambda what: None,
    flags: Sequence[str] = (),
) -> RtxEngine:
    """Compile a graph, strongly typed: it computes in the dtypes of the graph's tensors.

    For sm75 it gets the form that ``turing`` describes.

    Args:
        onnx_path: the graph, its external data beside it.
        targets: the kinds of GPU; sm75 only alone.
        profiles: the shapes that the engine takes.
        on_step: called with every step's phase; what it raises stops the build.
        flags: names of the library's ``BuilderFlag``, to be set beside its defaults.

    Raises:
        BuildError: the library does not take the graph, the targets or the shapes, or compiles
            nothing from them. MissingDependencyError: TensorRT for RTX is not installed.
    """
    trt = tensorrt_rtx()
    log = message_log(trt)
    log.clear()
    builder = trt.Builder(log)
    network = builder.create_network(0)
    parser = parsed(
        trt, network, onnx_path, log, _for_turing(onnx_path) if TURING in targets else None
    )
    config = _configured(trt, builder, targets, profiles)
    for flag in flags:
        config.set_flag(trt.BuilderFlag.__members__[flag])
    with reported(trt, config, on_step):
        plan = builder.build_serialized_network(network, config)
    del parser  # not before: the network's weights are the parser's
    if plan is None:
        complaint = log.complaint()
        cures = [cure for words, cure in _CURES.items() if words in complaint]
        raise BuildError(
            f"{onnx_path}: {full_name(trt)} compiled nothing for {', '.join(targets)}: "
            f"{' '.join([complaint, *cures])}"
        )
    return RtxEngine(bytes(plan), tuple(log.warnings), library_version(trt))


def _for_turing(onnx_path: Path) -> bytes:
    import onnx  # the other targets do without

    from .turing import products_as_convolutions

    model = onnx.load(onnx_path, load_external_data=False)
    return bytes(products_as_convolutions(model).SerializeToString())


def _configured(
    trt: Any, builder: Any, targets: Sequence[RtxTarget], profiles: Sequence[Shapes]
) -> Any:
    config = builder.create_builder_config()
    # As for TensorRT: float32 products need more than TF32's 10 bits of mantissa.
    config.clear_flag(trt.BuilderFlag.TF32)
    config.num_compute_capabilities = len(targets)
    for index, target in enumerate(targets):
        capability = trt.ComputeCapability.__members__.get(target.upper())
        if capability is None or not config.set_compute_capability(capability, index):
            raise BuildError(f"{full_name(trt)} has no target {target}.")
    for shapes in profiles:
        profile = builder.create_optimization_profile()
        for name, three in shapes.items():
            profile.set_shape(name, *three)
        if config.add_optimization_profile(profile) < 0:
            raise BuildError(f"{full_name(trt)} refused shapes: {shapes}.")
    return config
