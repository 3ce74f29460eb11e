"""An artefact in int8 or fp8 for GPU engines, beside the fp32 one in its bundle."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import onnx

from ....errors import ParityError, UsageError
from ....reference.checkpoint import Checkpoint
from ....reference.muq import MuQ
from ....runtime.bundle.certificate import Precision
from ....runtime.bundle.manifest import Artefact, Bundle
from ...bundle.artefact_writer import candidate, fp32_source, put
from ...bundle.workspace import workspace
from ...graph.writer import Graph
from ...onnx_from_checkpoint import onnx_from_checkpoint
from ...parity.excerpts import Excerpt
from ...parity.gate import parity, require_source
from ...sources.checkpoint import mulan_of
from ...sources.head import TagHead
from ...sources.rvq import TokenRvq
from ..half.formats import HALVES
from ..half.ranges import kept_nodes, observe
from ..int8.artefact import calibrate, of_sites, record
from ..int8.search import goal_of, largest_within, times_missed
from ..int8.sensitivity import Sensitivity
from ..int8.sites import FRONT_END
from .formats import FORMATS, Format
from .graph import QdqGraph, with_float16

# Plain convolutions: engines with 8-bit arithmetic have their own fast ones.
_TARGET = "any"
# Sensitivities are of unsigned bytes and of features: of fp8 and of tags they say less.
_ATTEMPTS = 10

OnStep = Callable[[str], None]


def add_qdq(
    bundle: Bundle,
    checkpoint: Checkpoint,
    calibration: Sequence[Excerpt],
    music: Sequence[Excerpt],
    precision: Precision,
    accuracy: float | None = None,
    head: TagHead | None = None,
    rvq: TokenRvq | None = None,
    on_step: OnStep = lambda what: None,
) -> Artefact:
    """Add the artefact ``onnx-int8-qdq`` or ``onnx-fp8-qdq`` to a bundle in its folder, proven by
    ONNX Runtime's CPU or not at all.

    An older one is replaced. What is not in 8 bits is in 16 or 32, as in the fp16 artefact. While
    the certificate says no, more sites stay out of 8 bits.

    Args:
        bundle: as loaded; the new manifest is saved.
        checkpoint: what the bundle was made from.
        calibration: what ranges and sensitivities are measured on.
        music: what parity, and the largest magnitudes for 16 bits, are measured on.
        precision: one of ``FORMATS``.
        accuracy: the worst frame cosine to reach; the gate's when None.
        head, rvq: what the bundle's ``tags`` and ``tokens`` are compared with.
        on_step: called after each step with what was done.

    Raises:
        UsageError: another precision, or an accuracy below the gate's. BundleError: no fp32 ONNX
            artefact to follow. CheckpointError: not what the bundle was made from. AudioError: the
            music is too little, or silent. ParityError: the accuracy cannot be reached.
    """
    if precision not in FORMATS:
        raise UsageError(f"precision {precision!r}: of 8 bits there are {', '.join(FORMATS)}.")
    require_source(bundle, checkpoint)
    source, form, goal = fp32_source(bundle), FORMATS[precision], goal_of(accuracy, precision)

    def written(model: MuQ, graph: Graph) -> onnx.ModelProto:
        outputs, module = [spec.name for spec in source.outputs], head.head if head else None
        arguments = (outputs, source.level, _TARGET, module, rvq, graph, mulan_of(checkpoint))
        return onnx_from_checkpoint(model, *arguments)

    calibrated = calibrate(checkpoint.model, calibration, source.level, on_step, form.ranges)
    counted = [_counted(each, form) for each in calibrated.sensitivities]
    calibrated = replace(calibrated, sensitivities=counted)
    with workspace(bundle.folder) as folder:
        plain = written(calibrated.model, Graph())
        largest = observe(plain, music, folder, lambda e: on_step(f"ranges: {e.name}"))
    float16 = HALVES["fp16"]
    kept = {e.name for e in kept_nodes(written(calibrated.model, Graph()), largest, float16)}

    def attempt(names: list[str]) -> tuple[Artefact | None, float]:
        ranges = form.products(of_sites(calibrated.ranges, names))
        graph = with_float16(written(calibrated.model, QdqGraph(ranges, form)), kept)
        with workspace(bundle.folder) as folder:
            added = candidate(bundle, graph, form.name, folder, f"{form.name}-qdq")
            (artefact,) = added.artefacts
            artefact.target = _TARGET
            artefact.quantization = record(calibrated, names, calibration, accuracy)
            artefact.quantization.format = "fp8" if form.name == "fp8" else None
            parity(added, checkpoint, music, lambda e: on_step(f"parity: {e.name}"), head, rvq)
            assert artefact.certificate is not None
            missed = times_missed(artefact.certificate, goal)
            on_step(f"{len(names)} sites, {missed:.2f} times the error that is allowed")
            return put(bundle, added) if artefact.certified and missed <= 1 else None, missed

    found = largest_within(calibrated.sensitivities, goal, precision, _ATTEMPTS, attempt)
    if found is not None:
        return found
    raise ParityError(
        f"{bundle.folder}: a worst frame cosine of {goal} cannot be reached in {precision}; "
        "nothing was written. Ask for less, or calibrate on more music like yours with --music."
    )


def _counted(found: Sensitivity, form: Format) -> Sensitivity:
    """Of the front end the linear layer alone, where convolutions are not in the format."""
    if form.convolutions or found.site.name != FRONT_END:
        return found
    linear = found.site.products[-1]
    macs = linear.weight.numel()
    return replace(found, site=replace(found.site, products=(linear,), macs_per_step=macs))
