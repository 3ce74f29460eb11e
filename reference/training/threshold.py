"""From which probability on a label counts."""

import numpy as np

NO_EVIDENCE_THRESHOLD = 0.5


def calibrated_threshold(present: np.ndarray, probabilities: np.ndarray) -> float:
    """The probability above which a label counts, so that it is said as often as it is true.

    The highest F1 would do as well for a label that is known well. But one that is hardly known is
    best said always, by F1, and a track would be in major and in minor.

    Args:
        present: (examples,) 0 or 1.
        probabilities: (examples,).

    Returns:
        Half-way between the examples it parts, as near to that number as equal probabilities let
        it; ``NO_EVIDENCE_THRESHOLD`` where no example has the label.
    """
    wanted = int(present.sum())
    if not wanted:
        return NO_EVIDENCE_THRESHOLD
    ranked = np.sort(probabilities.astype(np.float64))[::-1]
    following = np.append(ranked[1:], 0.0)
    (cuts,) = np.nonzero(ranked > following)  # equal probabilities cannot be parted
    if not len(cuts):
        return NO_EVIDENCE_THRESHOLD
    last = cuts[np.abs(cuts + 1 - wanted).argmin()]
    return float((ranked[last] + following[last]) / 2)
