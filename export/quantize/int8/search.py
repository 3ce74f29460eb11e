"""How much of a model can be computed in 8 bits: as much as its certificate allows."""

from collections.abc import Callable, Sequence

from ....errors import UsageError
from ....runtime.bundle.certificate import THRESHOLDS, Certificate, Precision
from ....runtime.bundle.manifest import Artefact
from .sensitivity import Allowed, Sensitivity, chosen

# Errors are predicted from each site's alone; of what is allowed this much is planned for.
_PLANNED = 0.8
# Where that was too hopeful, it is less the next time by what was missed, and at least so much.
_TIGHTER = 0.85

# From the names of the sites in 8 bits to the artefact, if it is within the gate and the goal, and
# how many times as much error it shows as is allowed.
Attempt = Callable[[list[str]], tuple[Artefact | None, float]]


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
    attempt: Attempt,
) -> Artefact | None:
    """The first artefact that is within the gate, with fewer and fewer sites in 8 bits.

    Args:
        measured: what each site costs alone.
        goal: the worst frame cosine to reach.
        precision: whose gate.
        attempts: how many at most.
        attempt: makes and proves one.

    Returns:
        None when there is none within the attempts, or nothing is left to be quantized.
    """
    allowed, share = Allowed(goal, THRESHOLDS[precision].relative_l2), _PLANNED
    for _ in range(attempts):
        selected = chosen(measured, allowed, share)
        if not selected:
            return None
        artefact, missed = attempt([each.site.name for each in selected])
        if artefact is not None:
            return artefact
        share = min(share, allowed.used(selected)) * min(_TIGHTER, 1 / max(missed, 1))
    return None


def times_missed(certificate: Certificate, goal: float) -> float:
    """How many times as much error as allowed a certificate shows: squares, which add up, of
    distances, and what cosines lack of 1. At most 1 where everything is within."""
    gate, worst = THRESHOLDS[certificate.precision], certificate.worst
    return max(
        (1 - worst.worst_frame_cosine) / (1 - goal),
        (worst.relative_l2 / gate.relative_l2) ** 2,
        (worst.largest_tag_change / gate.largest_tag_change) ** 2,
        (1 - worst.worst_latents_cosine) / (1 - gate.worst_latents_cosine),
    )
