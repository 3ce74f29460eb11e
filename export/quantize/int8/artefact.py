"""An int8 artefact, beside the fp32 one in its bundle: calibrate, measure, choose, prove."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from ....reference.muq import MuQ
from ....runtime.bundle.manifest import Bundle
from ....runtime.bundle.precision.quantization import Quantization, QuantizedSite
from ...bundle.candidate import fp32_source, onnx_candidate
from ...bundle.recipe import Recipe
from ...onnx_from_checkpoint import onnx_from_checkpoint
from ...parity.excerpt import Excerpt
from ...parity.proof import OnStep, Proof
from . import fake
from .calibration import Range, observe, with_fades
from .equalization import equalize, with_folded_norms
from .graph import Int8Graph
from .ranges import ranges
from .search import goal_of, largest_within
from .sensitivity import Sensitivity, excerpt_of, sensitivities
from .sites import FRONT_END, Site, activations, in_front_end, sites

_ATTEMPTS = 6


@dataclass(frozen=True, eq=False)
class Calibrated:
    """A model that is ready to be quantized.

    Attributes:
        model: equalized; the same function as the checkpoint's.
        ranges: of its activations.
        sensitivities: of its sites.
    """

    model: MuQ
    ranges: dict[str, Range]
    sensitivities: list[Sensitivity]


@dataclass(frozen=True, eq=False)
class Int8Recipe(Recipe):
    """The artefact ``onnx-int8``, or ``onnx-int8-mixed``, whose front end stays float32.

    The first attempt quantizes whatever the gate, or ``accuracy``, is likely to allow; while the
    certificate says otherwise, more stays float32.

    Attributes:
        calibration: what ranges and sensitivities are measured on.
        accuracy: the worst frame cosine to reach; the int8 gate's when None.
        front_end: whether it is quantized, too. Where products of bytes are hardly faster than
            float32's, its float32 form, with fewer multiplications, is the faster one.
    """

    calibration: Sequence[Excerpt]
    accuracy: float | None = None
    front_end: bool = True

    def __post_init__(self) -> None:
        goal_of(self.accuracy, "int8")

    def write(self, bundle: Bundle, folder: Path, proof: Proof) -> Bundle:
        """Calibrate, measure every site, and try until the numbers are within the goal.

        Raises:
            BundleError: no fp32 ONNX artefact to follow. AudioError: the music is too little, or
                silent. ParityError: the accuracy cannot be reached in int8.
        """
        source, goal = fp32_source(bundle), goal_of(self.accuracy, "int8")
        outputs = [spec.name for spec in source.outputs]
        calibrated = calibrate(
            proof.checkpoint.model, self.calibration, source.level, proof.on_step
        )

        def attempt(names: list[str], place: Path) -> Bundle:
            writer = Int8Graph(of_sites(calibrated.ranges, names))
            graph = onnx_from_checkpoint(
                calibrated.model, outputs, source.level, "cpu", proof.sources, writer
            )
            name = "int8" if self.front_end else "int8-mixed"
            added = onnx_candidate(bundle, graph, "int8", place, "cpu", name)
            record = quantization_record(calibrated, names, self.calibration, self.accuracy)
            added.artefacts[0].quantization = record
            return added

        measured = [
            each
            for each in calibrated.sensitivities
            if self.front_end or each.site.name != FRONT_END
        ]
        return largest_within(measured, goal, "int8", _ATTEMPTS, attempt, folder, proof)


def calibrate(
    model: MuQ,
    music: Sequence[Excerpt],
    level: int,
    on_step: OnStep = lambda what: None,
    held: Callable[[dict[str, Range]], dict[str, Range]] = dict,
) -> Calibrated:
    """Equalize a copy of the model, and measure its ranges and sensitivities on the music.

    ``held`` makes of the ranges those of another format than unsigned bytes.
    """
    faded = with_fades(music)
    equal = with_folded_norms(model)
    watched = activations(equal, level)
    equalize(equal, observe(equal, watched, faded, lambda: on_step("equalization")), level)
    candidates = sites(equal, level)
    found = held(ranges(observe(equal, watched, faded, lambda: on_step("ranges")), candidates))

    def rounding(site: Site) -> AbstractContextManager[None]:
        return fake.quantized([site], watched, found)

    measured = sensitivities(equal, candidates, rounding, excerpt_of(music), level, on_step)
    return Calibrated(equal, found, measured)


def of_sites(found: dict[str, Range], selected: Sequence[str]) -> dict[str, Range]:
    """Select the ranges that the sites of these names need."""
    return {
        name: each
        for name, each in found.items()
        if (FRONT_END if in_front_end(name) else name) in selected
    }


def quantization_record(
    calibrated: Calibrated,
    selected: Sequence[str],
    calibration: Sequence[Excerpt],
    accuracy: float | None,
) -> Quantization:
    """Describe the quantization of the selected sites for the manifest."""
    return Quantization(
        calibrated_on=[each.name for each in calibration],
        calibrated_seconds=sum(each.seconds for each in calibration),
        accuracy=accuracy,
        sites=[
            QuantizedSite(
                name=each.site.name,
                int8=each.site.name in selected,
                macs_per_step=each.site.macs_per_step,
                worst_frame_cosine=each.worst_frame_cosine,
                relative_l2=each.relative_l2,
            )
            for each in calibrated.sensitivities
        ],
    )
