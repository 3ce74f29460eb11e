"""An int8 artefact, beside the fp32 one in its bundle: calibrate, measure, choose, prove."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from ....errors import ParityError
from ....reference.checkpoint import Checkpoint
from ....reference.muq import MuQ
from ....runtime.audio.read import SAMPLE_RATE_HZ
from ....runtime.bundle.manifest import Artefact, Bundle
from ....runtime.bundle.quantization import Quantization, QuantizedSite
from ...bundle.artefact_writer import candidate, fp32_source, put
from ...bundle.workspace import workspace
from ...onnx_from_checkpoint import onnx_from_checkpoint
from ...parity.excerpts import Excerpt
from ...parity.gate import parity, refuse_uncertified, require_source
from ...sources.checkpoint import mulan_of
from ...sources.head import TagHead
from ...sources.rvq import TokenRvq
from .calibration import Range, observe, with_fades
from .equalization import equalize, with_folded_norms
from .ranges import ranges
from .rows import RowInt8Graph
from .search import goal_of, largest_within, times_missed
from .sensitivity import Sensitivity, sensitivities
from .sites import FRONT_END, activations, in_front_end, sites

_ATTEMPTS = 6
_SENSITIVITY_SECONDS = 4.0  # of each song, and so many songs:
_SENSITIVITY_SONGS = 4

OnStep = Callable[[str], None]


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


def add_int8(
    bundle: Bundle,
    checkpoint: Checkpoint,
    calibration: Sequence[Excerpt],
    music: Sequence[Excerpt],
    accuracy: float | None = None,
    head: TagHead | None = None,
    rvq: TokenRvq | None = None,
    on_step: OnStep = lambda what: None,
) -> Artefact:
    """Add the artefact ``onnx-int8`` to a bundle in its folder, proven or not at all.

    An older one is replaced. The first attempt quantizes whatever the gate, or ``accuracy``, is
    likely to allow; while the certificate says otherwise, more stays float32.

    Args:
        bundle: as loaded; the new manifest is saved.
        checkpoint: what the bundle was made from.
        calibration: what ranges and sensitivities are measured on.
        music: what parity is measured on.
        accuracy: the worst frame cosine to reach; the int8 gate's when None.
        head, rvq: what the bundle's ``tags`` and ``tokens`` are compared with.
        on_step: called after each step with what was done.

    Raises:
        UsageError: an accuracy below the gate's, or not below 1. BundleError: no fp32 ONNX artefact
            to follow. CheckpointError: not what the bundle was made from. AudioError: the music is
            too little, or silent. ParityError: the accuracy cannot be reached in int8.
    """
    require_source(bundle, checkpoint)
    source, goal = fp32_source(bundle), goal_of(accuracy, "int8")
    calibrated = calibrate(checkpoint.model, calibration, source.level, on_step)
    tried: list[Bundle] = []

    def attempt(names: list[str]) -> tuple[Artefact | None, float]:
        graph = onnx_from_checkpoint(
            calibrated.model,
            [spec.name for spec in source.outputs],
            source.level,
            head=head.head if head is not None else None,
            rvq=rvq,
            graph=RowInt8Graph(of_sites(calibrated.ranges, names)),
            mulan=mulan_of(checkpoint),
        )
        with workspace(bundle.folder) as temporary:
            added = candidate(bundle, graph, "int8", temporary)
            tried.append(added)
            (artefact,) = added.artefacts
            artefact.quantization = record(calibrated, names, calibration, accuracy)
            parity(added, checkpoint, music, lambda e: on_step(f"parity: {e.name}"), head, rvq)
            assert artefact.certificate is not None
            missed = times_missed(artefact.certificate, goal)
            return put(bundle, added) if artefact.certified and missed <= 1 else None, missed

    found = largest_within(calibrated.sensitivities, goal, "int8", _ATTEMPTS, attempt)
    if found is not None:
        return found
    if accuracy is None and tried:
        refuse_uncertified(tried[-1])
    raise ParityError(
        f"{bundle.folder}: a worst frame cosine of {goal} cannot be reached in int8; nothing was "
        "written. Ask for less, or calibrate on more music like yours with --music."
    )


def calibrate(
    model: MuQ,
    music: Sequence[Excerpt],
    level: int,
    on_step: OnStep = lambda what: None,
    held: Callable[[dict[str, Range]], dict[str, Range]] = dict,
) -> Calibrated:
    """Equalize a copy of the model, and measure its ranges and sensitivities on the music.

    ``held`` makes of the ranges those of another format than unsigned bytes.

    Raises:
        AudioError: the music is too little, or not music.
    """
    faded = with_fades(music)
    equal = with_folded_norms(model)
    watched = activations(equal, level)
    equalize(equal, observe(equal, watched, faded, lambda: on_step("equalization")), level)
    candidates = sites(equal, level)
    found = held(ranges(observe(equal, watched, faded, lambda: on_step("ranges")), candidates))
    samples = round(_SENSITIVITY_SECONDS * SAMPLE_RATE_HZ)
    rows = [np.resize(each.waveform, samples) for each in music[:_SENSITIVITY_SONGS]]
    excerpt = Excerpt("calibration", np.stack(rows))
    return Calibrated(
        equal, found, sensitivities(equal, candidates, found, excerpt, level, on_step)
    )


def of_sites(found: dict[str, Range], selected: Sequence[str]) -> dict[str, Range]:
    """The ranges that the sites of these names need."""
    return {
        name: each
        for name, each in found.items()
        if (FRONT_END if in_front_end(name) else name) in selected
    }


def record(
    calibrated: Calibrated,
    selected: Sequence[str],
    calibration: Sequence[Excerpt],
    accuracy: float | None,
) -> Quantization:
    """What the manifest says of a model with the selected sites quantized."""
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
