"""Whether a contender's answer is the reference's: only then is its speed reported."""

from dataclasses import dataclass

import numpy as np

from ...errors import ParityError
from ...runtime.bundle.certificate import THRESHOLDS, Precision
from ...runtime.parity.measuring import measure


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """How near an answer is to the reference's, and whether that is near enough."""

    worst_frame_cosine: float
    relative_l2: float
    matches: bool


def agreement(
    what: str,
    precision: Precision,
    answer: np.ndarray,
    expected: np.ndarray,
    tolerated: bool = False,
    hint: str = "",
) -> Agreement:
    """Compare an answer with the reference's, both (..., width).

    Args:
        what: the contender and its input, for the error.
        precision: whose thresholds the answer is held to.
        answer: the contender's.
        expected: the reference's.
        tolerated: return a wrong answer instead of raising.
        hint: what to do about a wrong answer, for the error.

    Raises:
        ParityError: the answer is not the reference's within the precision's thresholds.
    """
    found = measure("benchmark", 0.0, what, answer, expected)
    matches = found.passes(THRESHOLDS[precision])
    if not (matches or tolerated):
        raise ParityError(
            f"{what}: not the reference's numbers (worst frame cosine "
            f"{found.worst_frame_cosine:.7f}, relative L2 {found.relative_l2:.2e}), so its speed "
            f"is not reported. Run muqrt parity to see where they differ{hint}."
        )
    return Agreement(
        worst_frame_cosine=found.worst_frame_cosine,
        relative_l2=found.relative_l2,
        matches=matches,
    )
