"""An artefact for OpenVINO, beside the ONNX one and with the same weights.

OpenVINO's reader knows no ONNX functions, so they are inlined here. And it has one precision for a
graph, so the graph is cut: whatever needs fp32 lies apart from what may be bf16.
"""

from collections.abc import Sequence

import onnx
from onnx import inliner

from ...common.files import atomic_file, sha256
from ...errors import UsageError
from ...kernels.log_mel.contract import MELS
from ...kernels.log_mel.onnx import NAME as LOG_MEL
from ...reference.checkpoint import Checkpoint
from ...runtime.bundle.certificate import Precision
from ...runtime.bundle.manifest import Artefact, Bundle
from ...runtime.bundle.parts import encoder_outputs, frames_spec
from ...runtime.bundle.record import TensorSpec
from ...runtime.engines.openvino.session import (
    ENCODER_FILE,
    FRONT_END_FILE,
    LOG_MEL_FILE,
    POSITIONS_FILE,
    TOKENS_FILE,
)
from ..bundle.artefact_writer import fp32_source
from ..bundle.parts import part
from ..parity.excerpts import Excerpt, OnExcerpt
from ..parity.gate import parity, refuse_uncertified
from ..sources.head import TagHead
from ..sources.rvq import TokenRvq

PRECISIONS: tuple[Precision, ...] = ("fp32", "bf16")


def add_openvino(
    bundle: Bundle,
    checkpoint: Checkpoint,
    music: Sequence[Excerpt],
    precision: Precision = "bf16",
    on_excerpt: OnExcerpt | None = None,
    head: TagHead | None = None,
    rvq: TokenRvq | None = None,
) -> Artefact:
    """Add the artefact ``openvino-<precision>`` to a bundle in its folder, proven or not at all.

    An older one of that name is replaced. What it computes is what the bundle's fp32 ONNX artefact
    computes; only graphs are written, the large weights are that artefact's.

    Args:
        bundle: as loaded; the new manifest is saved.
        checkpoint: what the bundle was made from.
        music: what parity is measured on; empty adds the artefact uncertified.
        precision: fp32 or bf16.
        on_excerpt: called after each excerpt of the parity measurement.
        head, rvq: what the bundle's ``tags`` and ``tokens`` are compared with.

    Raises:
        UsageError: another precision. BundleError: no fp32 ONNX artefact, or not one this muqrt
            wrote. CheckpointError: not what the bundle was made from. SessionError: this machine
            cannot run it, so that nothing can be proven here. MissingDependencyError: no OpenVINO.
            ParityError: the numbers differ from the reference's.
    """
    if precision not in PRECISIONS:
        raise UsageError(f"precision {precision!r}: for OpenVINO it is {' or '.join(PRECISIONS)}.")
    source = fp32_source(bundle)
    bundle.verify(source)
    graphs = _graphs(bundle, source)
    written = [bundle.folder / name for name in graphs if not (bundle.folder / name).exists()]
    try:
        for name, graph in graphs.items():
            with atomic_file(bundle.folder / name) as temporary:
                temporary.write_bytes(graph.SerializeToString())
        artefact = Artefact(
            name=f"openvino-{precision}",
            engine="openvino",
            precision=precision,
            target=source.target,
            file=ENCODER_FILE,
            files=_hashes(bundle, source, graphs),
            level=source.level,
            inputs=source.inputs,
            outputs=source.outputs,
        )
        # Alone in a bundle: the others keep their certificates.
        candidate = Bundle(**{**dict(bundle), "artefacts": [artefact]})
        if music:
            parity(candidate, checkpoint, music, on_excerpt, head, rvq)
            refuse_uncertified(candidate)
    except BaseException:
        for path in written:
            path.unlink(missing_ok=True)
        raise
    bundle.artefacts = [x for x in bundle.artefacts if x.name != artefact.name] + [artefact]
    bundle.save(bundle.folder)
    return artefact


def _graphs(bundle: Bundle, source: Artefact) -> dict[str, onnx.ModelProto]:
    """The source's graph in pieces, by file; their external data are the source's."""
    whole = onnx.load(bundle.path(source.file), load_external_data=False)
    whole = inliner.inline_local_functions(whole)
    width = bundle.architecture["encoder_dim"]
    log_mel = _float(LOG_MEL, "batch", MELS, "mel_frames")
    frames = frames_spec(width)
    half_head = width // bundle.architecture["num_attention_heads"] // 2
    angles = [node.output[0] for node in whole.graph.node if node.op_type in ("Cos", "Sin")]
    positions = [_float(name, "steps", 1, half_head) for name in angles]
    encoded = encoder_outputs(source.outputs, bundle.meanings)
    pieces = {
        LOG_MEL_FILE: (source.inputs, [log_mel]),
        TOKENS_FILE: ([log_mel], [spec for spec in source.outputs if spec not in encoded]),
        FRONT_END_FILE: ([log_mel], [frames]),
        POSITIONS_FILE: ([frames], positions if source.level > 0 else []),
        ENCODER_FILE: ([frames, *(positions if source.level > 0 else [])], encoded),
    }
    return {
        name: part(whole, inputs, outputs) for name, (inputs, outputs) in pieces.items() if outputs
    }


def _float(name: str, *shape: int | str) -> TensorSpec:
    return TensorSpec(name=name, dtype="float32", shape=list(shape))


def _hashes(bundle: Bundle, source: Artefact, graphs: dict[str, onnx.ModelProto]) -> dict[str, str]:
    """SHA-256 of the graphs and of the external data that they read."""
    data = {
        entry.value
        for graph in graphs.values()
        for tensor in graph.graph.initializer
        for entry in tensor.external_data
        if entry.key == "location"
    }
    hashes = {name: source.files[name] for name in sorted(data)}
    return hashes | {name: sha256(bundle.folder / name) for name in graphs}
