"""An artefact for TensorRT, beside the ONNX one that it is built from."""

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from ....common.files import sha256
from ....errors import BundleError
from ....reference.checkpoint import Checkpoint
from ....runtime.bundle.certificate import Precision
from ....runtime.bundle.engine_options import EngineOptions
from ....runtime.bundle.manifest import Artefact, Bundle
from ....runtime.bundle.tensorrt_plan import TensorRTPlan
from ....runtime.engines.cuda.device import CudaDevice
from ....runtime.engines.tensorrt.library import tensorrt_version
from ...bundle.artefact_writer import put
from ...bundle.workspace import workspace
from ...parity.excerpts import Excerpt
from ...parity.gate import parity, refuse_uncertified, require_head, require_source
from ...sources.head import TagHead
from ...sources.rvq import TokenRvq, require_rvq
from .build import engine_from_onnx
from .watching import engine_layers

PRECISIONS: tuple[Precision, ...] = ("fp32", "fp16", "bf16", "int8", "fp8")


def tensorrt_source(bundle: Bundle, precision: Precision) -> Artefact:
    """The artefact to build an engine of this precision from.

    Raises:
        BundleError: there is none.
    """
    for artefact in bundle.audio_artefacts:
        # Beside a graph in int8 for GPUs there may be one that only CPUs understand.
        only_cpus = precision == "int8" and artefact.target == "cpu"
        if (artefact.engine, artefact.precision) == ("onnxruntime", precision) and not only_cpus:
            return artefact
    named = "int8-qdq" if precision == "int8" else precision
    raise BundleError(
        f"{bundle.folder}: no {precision} artefact for ONNX Runtime to build an engine from. Run: "
        f"muqrt build {bundle.folder} --checkpoint CHECKPOINT --precision {named}"
    )


def add_tensorrt(
    bundle: Bundle,
    checkpoint: Checkpoint,
    music: Sequence[Excerpt],
    source_artefact: Artefact,
    options: EngineOptions,
    head: TagHead | None = None,
    rvq: TokenRvq | None = None,
    advance: Callable[[str], None] = lambda what: None,
) -> Artefact:
    """Add ``tensorrt-<precision>-<compute capability>`` to a bundle in its folder, proven or not at
    all.

    It is built on this machine's first GPU, for it and for this TensorRT. An older one of that name
    is replaced; a build that fails or is interrupted leaves nothing but the timing cache.

    Args:
        bundle: as loaded; the new manifest is saved.
        checkpoint: what the bundle was made from.
        music: what parity is measured on, as far as the profiles cover it, and in their own shapes;
            empty adds the artefact uncertified.
        source_artefact: the ONNX artefact to build from; its precision is the engine's.
        options: how.
        head, rvq: what the bundle's ``tags`` and ``tokens`` are compared with.
        advance: called with what is being done.

    Raises:
        BundleError: the source is not for TensorRT, or has changed. CheckpointError: not what the
            bundle was made from. ParityError: the numbers differ from the reference's. BuildError,
            KernelError, SessionError, MissingDependencyError: as ``engine_from_onnx``, or no GPU.
    """
    require_source(bundle, checkpoint)
    if music:
        require_head(bundle, head)
        require_rvq(bundle, rvq)
    _require_for_tensorrt(bundle, source_artefact)
    bundle.verify(source_artefact)
    version, device = tensorrt_version(), CudaDevice()
    plan = engine_from_onnx(bundle.path(source_artefact.file), options, advance)
    built_for = TensorRTPlan(
        tensorrt=version,
        compute_capability=device.compute_capability,
        gpu=device.name,
        cuda=device.cuda,
        source_sha256=source_artefact.digest,
        options=options,
        weights=source_artefact.file if options.stripped else None,
    )
    with workspace(bundle.folder) as temporary:
        added = _candidate(bundle, source_artefact, plan, built_for, temporary)
        if music:
            parity(added, checkpoint, music, lambda x: advance(f"parity: {x.name}"), head, rvq)
            refuse_uncertified(added)
        return put(bundle, added)


def _require_for_tensorrt(bundle: Bundle, source: Artefact) -> None:
    if source.engine != "onnxruntime" or source.precision not in PRECISIONS:
        raise BundleError(
            f"{bundle.folder}: {source.name} ({source.engine}, {source.precision}) is not what "
            f"TensorRT builds from: an ONNX artefact in {', '.join(PRECISIONS)}."
        )
    if source.target == "cpu":
        raise BundleError(
            f"{bundle.folder}: {source.name} has its convolutions in a form that is only good on "
            "CPUs. Export the bundle with --target any, or build from its fp16 or bf16 artefact."
        )


def _candidate(
    bundle: Bundle, source: Artefact, plan: bytes, built_for: TensorRTPlan, folder: Path
) -> Bundle:
    """A bundle in ``folder`` with the engine as its only artefact, not yet certified."""
    name = f"{source.precision}-{built_for.compute_capability}"
    files = {f"muq-{name}.plan": plan}
    if built_for.options is not None and built_for.options.inspect:
        layers = engine_layers(plan, built_for.version_compatible)
        files[f"muq-{name}-layers.json"] = layers.encode()
    for file, content in files.items():
        (folder / file).write_bytes(content)
    weights = _weights(source) if built_for.weights else []
    for file in weights:
        shutil.copy(bundle.path(file), folder / file)
    artefact = Artefact(
        name=f"tensorrt-{name}",
        engine="tensorrt",
        precision=source.precision,
        target="any",
        file=f"muq-{name}.plan",
        files={file: sha256(folder / file) for file in [*files, *weights]},
        level=source.level,
        inputs=source.inputs,
        outputs=source.outputs,
        plan=built_for,
    )
    return Bundle(**{**dict(bundle), "artefacts": [artefact], "folder": folder})


def _weights(source: Artefact) -> list[str]:
    """The files that a stripped plan's weights are in: the graph's, and its external data's."""
    return [name for name in source.files if name in (source.file, f"{source.file}.data")]
