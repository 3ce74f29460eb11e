"""An artefact in int8 or fp8 for GPU engines, beside the fp32 one in its bundle."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import onnx

from ....reference.muq import MuQ
from ....runtime.bundle.manifest import Bundle
from ...bundle.candidate import fp32_source, onnx_candidate
from ...bundle.recipe import PrecisionRecipe
from ...graph.writer import Graph
from ...onnx_from_checkpoint import onnx_from_checkpoint
from ...parity.excerpt import Excerpt
from ...parity.proof import Proof
from ..half.formats import HALVES
from ..half.ranges import kept_nodes, observe
from ..int8.artefact import calibrate, of_sites, quantization_record
from ..int8.search import goal_of, largest_within
from ..int8.sensitivity import Sensitivity
from ..int8.sites import FRONT_END
from .formats import FORMATS, Format
from .graph import QdqGraph, with_float16

# Plain convolutions: engines with 8-bit arithmetic have their own fast ones.
_TARGET = "any"
# Sensitivities are of unsigned bytes and of features: of fp8 and of tags they say less.
_ATTEMPTS = 10


@dataclass(frozen=True, eq=False)
class QdqRecipe(PrecisionRecipe):
    """The artefact ``onnx-int8-qdq`` or ``onnx-fp8-qdq``, proven by ONNX Runtime's CPU.

    What is not in 8 bits is in 16 or 32, as in the fp16 artefact. While the certificate says no,
    more sites stay out of 8 bits.

    Attributes:
        precision: one of ``FORMATS``.
        calibration: what ranges and sensitivities are measured on. The largest magnitudes for 16
            bits are measured on the proof's music.
        accuracy: the worst frame cosine to reach; the gate's when None.
    """

    known = FORMATS
    called = "a graph of 8 bits for GPUs"
    calibration: Sequence[Excerpt]
    accuracy: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        goal_of(self.accuracy, self.precision)

    def write(self, bundle: Bundle, folder: Path, proof: Proof) -> Bundle:
        """Calibrate, measure, and try until the numbers are within the goal.

        Raises:
            BundleError: no fp32 ONNX artefact to follow. AudioError: the music is too little, or
                silent. ParityError: the accuracy cannot be reached.
        """
        source, form = fp32_source(bundle), FORMATS[self.precision]
        outputs = [spec.name for spec in source.outputs]

        def written(model: MuQ, graph: Graph) -> onnx.ModelProto:
            return onnx_from_checkpoint(model, outputs, source.level, _TARGET, proof.sources, graph)

        found = calibrate(
            proof.checkpoint.model, self.calibration, source.level, proof.on_step, form.ranges
        )
        counted = [_counted(each, form) for each in found.sensitivities]
        calibrated = replace(found, sensitivities=counted)
        plain = written(calibrated.model, Graph())
        largest = observe(plain, proof.music, folder, proof.on_step)
        float16 = HALVES["fp16"]
        kept = {e.name for e in kept_nodes(written(calibrated.model, Graph()), largest, float16)}

        def attempt(names: list[str], place: Path) -> Bundle:
            ranges = form.products(of_sites(calibrated.ranges, names))
            graph = with_float16(written(calibrated.model, QdqGraph(ranges, form)), kept)
            added = onnx_candidate(bundle, graph, form.name, place, _TARGET, f"{form.name}-qdq")
            record = quantization_record(calibrated, names, self.calibration, self.accuracy)
            record.format = "fp8" if form.name == "fp8" else None
            added.artefacts[0].quantization = record
            return added

        goal = goal_of(self.accuracy, self.precision)
        return largest_within(counted, goal, self.precision, _ATTEMPTS, attempt, folder, proof)


def _counted(found: Sensitivity, form: Format) -> Sensitivity:
    """Reduce the front end to its linear layer if the format has no convolutions."""
    if form.convolutions or found.site.name != FRONT_END:
        return found
    linear = found.site.products[-1]
    macs = linear.weight.numel()
    return replace(found, site=replace(found.site, products=(linear,), macs_per_step=macs))
