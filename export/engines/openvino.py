"""An artefact for OpenVINO, beside the ONNX one and with the same weights.

OpenVINO's reader knows no ONNX functions, so they are inlined here. And it has one precision for a
graph, so the graph is cut: whatever needs fp32 lies apart from what may be bf16.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import onnx
from onnx import inliner

from ...kernels.log_mel.contract import MELS
from ...kernels.log_mel.onnx import NAME as LOG_MEL
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
from ..bundle.candidate import alone, following, fp32_source, share
from ..bundle.parts import part
from ..bundle.recipe import PrecisionRecipe
from ..parity.proof import Proof

PRECISIONS: tuple[Precision, ...] = ("fp32", "bf16")


@dataclass(frozen=True)
class OpenVinoRecipe(PrecisionRecipe):
    """The artefact ``openvino-<precision>``.

    It computes what the bundle's fp32 ONNX artefact computes; only graphs are written, the large
    weights are that artefact's.
    """

    known = PRECISIONS
    called = "OpenVINO"

    def write(self, bundle: Bundle, folder: Path, proof: Proof) -> Bundle:
        """Cut the fp32 artefact's graph into pieces.

        Raises:
            BundleError: no fp32 ONNX artefact, or one that has changed. MissingDependencyError: no
                OpenVINO.
        """
        source = fp32_source(bundle)
        bundle.verify(source)
        graphs = _graphs(bundle, source)
        for name, graph in graphs.items():
            (folder / name).write_bytes(graph.SerializeToString())
        others = [folder / name for name in graphs if name != ENCODER_FILE]
        files = [folder / ENCODER_FILE, *others]
        files += share(bundle, sorted(_external_data(graphs.values())), folder)
        artefact = following(
            source,
            files,
            name=f"openvino-{self.precision}",
            engine="openvino",
            precision=self.precision,
            target=source.target,
        )
        return alone(bundle, artefact, folder)


def _graphs(bundle: Bundle, source: Artefact) -> dict[str, onnx.ModelProto]:
    """Cut the source's graph into pieces, by file; they share its external data."""
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


def _external_data(graphs: Iterable[onnx.ModelProto]) -> set[str]:
    """List the files that graphs read their large weights from."""
    return {
        entry.value
        for graph in graphs
        for tensor in graph.graph.initializer
        for entry in tensor.external_data
        if entry.key == "location"
    }
