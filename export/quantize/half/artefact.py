"""An fp16 or bf16 artefact, beside the fp32 one in its bundle: measure, retype, choose, prove."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import onnx
from onnx import TensorProto

from ....runtime.bundle.manifest import Bundle
from ....runtime.bundle.precision.mixed_precision import Emulation, KeptNode, MixedPrecision
from ...bundle.candidate import fp32_source, onnx_candidate
from ...bundle.recipe import PrecisionRecipe
from ...onnx_from_checkpoint import onnx_from_checkpoint
from ...parity.excerpt import Excerpt
from ...parity.gate import parity
from ...parity.proof import Proof
from .emulation import emulated
from .formats import HALVES, Half
from .ranges import Ranges, kept_nodes, observe
from .search import HalfSearch, names_of
from .typed import nodes_of, typed

# Plain convolutions: engines with 16-bit arithmetic have their own fast ones.
_TARGET = "any"


@dataclass(frozen=True)
class HalfRecipe(PrecisionRecipe):
    """The artefact ``onnx-fp16`` or ``onnx-bf16``.

    Its graph is strongly typed: whatever engine reads the file computes in the types that it says.
    Before it is written, an emulation of every rounding must be within the gate; while it is not,
    more products stay float32. Where ONNX Runtime cannot run the artefact itself, such as bf16 on a
    CPU, it is added without a certificate: nothing chooses it until ``muqrt parity`` has proven it
    where an engine can.
    """

    known = HALVES
    called = "an artefact of 16 bits"
    may_stay_unproven = True

    def write(self, bundle: Bundle, folder: Path, proof: Proof) -> Bundle:
        """Measure the ranges on the music, emulate, and write the typed graph.

        Raises:
            BundleError: no fp32 ONNX artefact to follow. ParityError: the emulation's numbers
                differ from the reference's, whatever stays float32.
        """
        source, half = fp32_source(bundle), HALVES[self.precision]
        outputs = [spec.name for spec in source.outputs]
        arguments = (proof.checkpoint.model, outputs, source.level, _TARGET, proof.sources)
        # Made anew for each use: writing a graph uses it up, and one at a time is enough to hold.
        float32 = partial(onnx_from_checkpoint, *arguments)
        ranges = observe(float32(), proof.music, folder, proof.on_step)
        kept = kept_nodes(float32(), ranges, half)

        def emulation(kept: list[KeptNode], place: Path) -> Bundle:
            graph = emulated(typed(float32(), half, names_of(kept)), half)
            rounded = onnx_candidate(bundle, graph, self.precision, place)
            rounded.artefacts[0].name += ", every rounding emulated,"
            return rounded

        with TemporaryDirectory(dir=folder) as temporary:
            place = Path(temporary)
            rounded = emulation(kept, place)
            parity(rounded, proof, "emulation")
            if not rounded.artefacts[0].certified:
                search = HalfSearch(self.precision, half, proof, source.level)
                kept, rounded = search.run(kept, float32, emulation, rounded, place)
        graph = typed(float32(), half, names_of(kept))
        record = _record(graph, half, proof.music, ranges, kept, rounded)
        added = onnx_candidate(bundle, graph, self.precision, folder, _TARGET)
        added.artefacts[0].mixed_precision = record
        return added


def _record(
    graph: onnx.ModelProto,
    half: Half,
    music: Sequence[Excerpt],
    ranges: Ranges,
    kept: list[KeptNode],
    rounded: Bundle,
) -> MixedPrecision:
    (emulation,) = rounded.artefacts
    assert emulation.certificate is not None  # measured just before
    return MixedPrecision(
        measured_on=[each.name for each in music],
        measured_seconds=sum(each.seconds * len(each.waveform) for each in music),
        half_nodes=sum(1 for _ in nodes_of(graph, half.element)),
        float32_nodes=dict(Counter(node.op_type for node in nodes_of(graph, TensorProto.FLOAT))),
        kept=kept,
        largest=ranges.by_part(),
        emulation=Emulation(**dict(emulation.certificate.worst)),
    )
