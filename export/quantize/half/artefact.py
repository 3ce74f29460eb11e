"""An fp16 or bf16 artefact, beside the fp32 one in its bundle: measure, retype, prove."""

from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import onnx
from onnx import TensorProto

from ....errors import MissingDependencyError, SessionError, UsageError
from ....reference.checkpoint import Checkpoint
from ....runtime.bundle.certificate import Precision
from ....runtime.bundle.manifest import Artefact, Bundle
from ....runtime.bundle.mixed_precision import Emulation, KeptNode, MixedPrecision
from ....runtime.engines.open_session import open_session
from ....runtime.engines.session import WAVEFORM
from ...bundle.artefact_writer import candidate, fp32_source, put
from ...bundle.workspace import workspace
from ...onnx_from_checkpoint import onnx_from_checkpoint
from ...parity.excerpts import Excerpt
from ...parity.gate import parity, refuse_uncertified, require_source
from ...sources.checkpoint import mulan_of
from ...sources.head import TagHead
from ...sources.rvq import TokenRvq
from .emulation import emulated
from .formats import HALVES, Half
from .ranges import Ranges, kept_nodes, observe
from .typed import nodes_of, typed

# Plain convolutions: engines with 16-bit arithmetic have their own fast ones.
_TARGET = "any"

OnStep = Callable[[str], None]


def add_half(
    bundle: Bundle,
    checkpoint: Checkpoint,
    music: Sequence[Excerpt],
    precision: Precision,
    head: TagHead | None = None,
    rvq: TokenRvq | None = None,
    on_step: OnStep = lambda what: None,
) -> Artefact:
    """Add the artefact ``onnx-fp16`` or ``onnx-bf16`` to a bundle in its folder.

    An older one is replaced. Its graph is strongly typed: whatever engine reads the file computes
    in the types that it says. Two measurements must be within the gate before anything is
    written: an emulation of every rounding, for both formats, and the artefact itself where ONNX
    Runtime can run it. Where it cannot, as bf16 on a CPU, the artefact is added without a
    certificate: nothing chooses it until ``muqrt parity`` has proven it where an engine can.

    Args:
        bundle: as loaded; the new manifest is saved.
        checkpoint: what the bundle was made from.
        music: what ranges and parity are measured on.
        precision: one of ``HALVES``.
        head, rvq: what the bundle's ``tags`` and ``tokens`` are compared with.
        on_step: called after each excerpt of a measurement.

    Raises:
        UsageError: another precision. BundleError: no fp32 ONNX artefact to follow.
        CheckpointError: not what the bundle was made from. ParityError: the numbers differ from the
            reference's.
    """
    if precision not in HALVES:
        raise UsageError(f"precision {precision!r}: of 16 bits there are {', '.join(HALVES)}.")
    require_source(bundle, checkpoint)
    source, half = fp32_source(bundle), HALVES[precision]

    outputs, module = [spec.name for spec in source.outputs], head.head if head else None
    arguments = (checkpoint.model, outputs, source.level, _TARGET, module, rvq)
    # Made anew for each use: writing a graph uses it up, and one at a time is enough to hold.
    float32 = partial(onnx_from_checkpoint, *arguments, mulan=mulan_of(checkpoint))

    def measure(what: str, each: Bundle) -> None:
        parity(each, checkpoint, music, lambda e: on_step(f"{what}: {e.name}"), head, rvq)
        refuse_uncertified(each)

    with workspace(bundle.folder) as folder:
        ranges = observe(float32(), music, folder, lambda e: on_step(f"ranges: {e.name}"))
    kept = kept_nodes(float32(), ranges, half)
    names = {each.name for each in kept}
    with workspace(bundle.folder) as folder:
        graph = emulated(typed(float32(), half, names), half)
        rounded = candidate(bundle, graph, precision, folder)
        rounded.artefacts[0].name += ", every rounding emulated,"
        measure("emulation", rounded)
    with workspace(bundle.folder) as folder:
        graph = typed(float32(), half, names)
        record = _record(graph, half, music, ranges, kept, rounded)
        added = candidate(bundle, graph, precision, folder)
        (artefact,) = added.artefacts
        artefact.target, artefact.mixed_precision = _TARGET, record
        if runs_here(added, artefact):
            measure("parity", added)
        return put(bundle, added)


def runs_here(bundle: Bundle, artefact: Artefact) -> bool:
    """Whether this machine has the artefact's engine, and that the artefact's arithmetic.

    ONNX Runtime's CPU widens float16 and, up to 1.31 at least, refuses bfloat16.
    """
    is_onnx, is_bf16 = artefact.engine == "onnxruntime", artefact.precision == "bf16"
    if is_onnx and not is_bf16:
        return True  # not to be hashed and opened twice
    shortest = np.zeros((1, bundle.framing.minimum_samples), np.float32)
    try:
        with open_session(bundle, artefact) as session:
            if is_onnx:
                session.run({WAVEFORM: shortest})
    except (MissingDependencyError, SessionError):
        return False
    return True


def unproven(bundle: Bundle, artefact: Artefact) -> str:
    """What to tell the user of an artefact that does not run here."""
    return (
        f"{artefact.name} was not proven: this machine's {artefact.engine} cannot run "
        f"{artefact.precision}. Until it has a certificate nothing chooses it, but engines can be "
        f"built from it. Where one can: muqrt parity {bundle.folder} --checkpoint CHECKPOINT"
    )


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
