"""From which probability on a label counts."""

import numpy as np

NO_EVIDENCE_THRESHOLD = 0.5


def best_threshold(present: np.ndarray, probabilities: np.ndarray) -> float:
    """The probability above which a label counts, so that its F1 is the highest.

    Args:
        present: (examples,) 0 or 1.
        probabilities: (examples,).

    Returns:
        Half-way between the examples it parts; ``NO_EVIDENCE_THRESHOLD`` where no example has the
        label.
    """
    if not present.any():
        return NO_EVIDENCE_THRESHOLD
    order = np.argsort(-probabilities, kind="stable")
    ranked = probabilities[order].astype(np.float64)
    hits = np.cumsum(present[order])
    f1 = 2 * hits / (np.arange(1, len(order) + 1) + hits[-1])
    following = np.append(ranked[1:], 0.0)
    f1[ranked == following] = 0  # equal probabilities cannot be parted
    last = int(f1.argmax())
    return float((ranked[last] + following[last]) / 2)
