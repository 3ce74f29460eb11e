"""Search for the largest part of a model that can be computed in 8 bits."""

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from ....errors import ParityError, UsageError
from ....runtime.bundle.certificate import THRESHOLDS, Certificate, Precision
from ....runtime.bundle.manifest import Bundle
from ...parity.gate import parity, refuse_uncertified
from ...parity.proof import Proof
from .sensitivity import Allowed, Sensitivity, chosen

# Errors are predicted from each site's alone; of what is allowed this much is planned for.
_PLANNED = 0.8
# Where that was too hopeful, it is less the next time by what was missed, and at least so much.
_TIGHTER = 0.85

# Writes an artefact with the sites of these names in 8 bits into a folder, as a bundle there.
Write = Callable[[list[str], Path], Bundle]


def goal_of(accuracy: float | None, precision: Precision) -> float:
    """The worst frame cosine to reach: the one asked for, or the gate's.

    Raises:
        UsageError: it is below the gate's, or not below 1.
    """
    gate = THRESHOLDS[precision].worst_frame_cosine
    goal = gate if accuracy is None else accuracy
    if not gate <= goal < 1:
        raise UsageError(
            f"accuracy {goal}: the worst frame cosine to reach is at least {gate}, {precision}'s "
            "gate, and below 1."
        )
    return goal


def largest_within(
    measured: Sequence[Sensitivity],
    goal: float,
    precision: Precision,
    attempts: int,
    write: Write,
    folder: Path,
    proof: Proof,
) -> Bundle:
    """Write artefacts with fewer and fewer sites in 8 bits until one is within the gate and the
    goal.

    Args:
        measured: what each site costs alone.
        goal: the worst frame cosine to reach.
        precision: whose gate.
        attempts: how many at most.
        write: makes one.
        folder: where they are written.
        proof: what they are compared with.

    Raises:
        ParityError: there is none within the attempts, or nothing is left to be quantized.
    """
    allowed, share = Allowed(goal, THRESHOLDS[precision].relative_l2), _PLANNED
    added: Bundle | None = None
    for attempt in range(attempts):
        selected = chosen(measured, allowed, share)
        if not selected:
            break
        place = folder / f"attempt-{attempt}"
        place.mkdir()
        added = write([each.site.name for each in selected], place)
        parity(added, proof)
        (artefact,) = added.artefacts
        assert artefact.certificate is not None  # measured just before
        missed = times_missed(artefact.certificate, goal)
        proof.on_step(f"{len(selected)} sites, {missed:.2f} times the error that is allowed")
        if artefact.certified and missed <= 1:
            return added
        shutil.rmtree(place)
        share = min(share, allowed.used(selected)) * min(_TIGHTER, 1 / max(missed, 1))
    if added is not None:
        refuse_uncertified(added)
    raise ParityError(
        f"{proof.checkpoint.name}: a worst frame cosine of {goal} cannot be reached in "
        f"{precision}; nothing was written. Ask for less, or calibrate on more music like yours "
        "with --music."
    )


def times_missed(certificate: Certificate, goal: float) -> float:
    """Return a certificate's error as a multiple of what is allowed: squared distances and 1 -
    cosine, which add up over sites. At most 1 if everything is within."""
    gate, worst = THRESHOLDS[certificate.precision], certificate.worst
    return max(
        (1 - worst.worst_frame_cosine) / (1 - goal),
        (worst.relative_l2 / gate.relative_l2) ** 2,
        (worst.largest_tag_change / gate.largest_tag_change) ** 2,
        (1 - worst.worst_latents_cosine) / (1 - gate.worst_latents_cosine),
    )
