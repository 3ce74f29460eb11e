"""Search for the largest part of a model that can be computed in 8 or 16 bits."""

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

# Writes an artefact with the sites of these names in few bits into a folder, as a bundle there.
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
    failed: Bundle | None = None,
    what: str = "parity",
) -> Bundle:
    """Write artefacts with fewer and fewer sites in few bits until one is within the gate and the
    goal.

    Args:
        measured: what each site costs alone.
        goal: the worst frame cosine to reach.
        precision: whose gate.
        attempts: how many at most.
        write: makes one.
        folder: where they are written.
        proof: what they are compared with.
        failed: the artefact with all sites, if it was tried before and is not within the gate.
        what: names the steps.

    Raises:
        ParityError: there is none within the attempts, or nothing is left to be quantized.
    """
    gate = THRESHOLDS[precision]
    allowed, share = Allowed(goal, gate.relative_l2, gate.largest_tag_change), _PLANNED
    added = failed
    if failed is not None:
        share = _tighter(share, allowed.used(measured), _missed(failed, goal))
    for attempt in range(attempts):
        selected = chosen(measured, allowed, share)
        if not selected:
            break
        place = folder / f"attempt-{attempt}"
        place.mkdir()
        added = write([each.site.name for each in selected], place)
        parity(added, proof, what)
        (artefact,), missed = added.artefacts, _missed(added, goal)
        proof.on_step(
            f"search: {len(selected)} sites, {missed:.2f} times the error that is allowed"
        )
        if artefact.certified and missed <= 1:
            return added
        shutil.rmtree(place)
        share = _tighter(share, allowed.used(selected), missed)
    if added is not None:
        refuse_uncertified(added)
    raise ParityError(
        f"{proof.checkpoint.name}: a worst frame cosine of {goal} cannot be reached in "
        f"{precision}; nothing was written. Ask for less, or calibrate on more music like yours "
        "with --music."
    )


def _tighter(share: float, used: float, missed: float) -> float:
    """The share to plan for next, after one that used so much missed the goal so many times."""
    return min(share, used) * min(_TIGHTER, 1 / max(missed, 1))


def _missed(added: Bundle, goal: float) -> float:
    (artefact,) = added.artefacts
    assert artefact.certificate is not None  # measured just before
    return times_missed(artefact.certificate, goal)


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
