"""Figures that compare an artefact's output with the reference's."""

import numpy as np

from ..bundle.certificate import RANK_TIE, Measurement, RankMeasurement


def measure(
    audio: str, seconds: float, output: str, ours: np.ndarray, reference: np.ndarray
) -> Measurement:
    """Compare one output of real numbers with the reference's, both (..., width).

    Args:
        audio, seconds: what both are answers to, and its duration.
        output: its name.
        ours, reference: the answers.
    """
    ours, reference = (x.astype(np.float64).reshape(-1, x.shape[-1]) for x in (ours, reference))
    norms = np.linalg.norm(ours, axis=1) * np.linalg.norm(reference, axis=1)
    with np.errstate(all="ignore"):
        cosines = (ours * reference).sum(1) / norms
        relative = np.linalg.norm(ours - reference) / np.linalg.norm(reference)
    return Measurement(
        audio=audio,
        seconds=seconds,
        output=output,
        finite=bool(np.isfinite(ours).all() and np.isfinite(reference).all()),
        worst_frame_cosine=_number(cosines.min(), worst=-1.0),
        relative_l2=_number(relative, worst=1e30),
        largest_difference=_number(np.abs(ours - reference).max(), worst=1e30),
    )


def measure_ranks(
    audio: str, seconds: float, ours: np.ndarray, reference: np.ndarray
) -> RankMeasurement:
    """Compare the order of texts for each piece of music, and of pieces for each text, by their
    cosines (pieces, texts)."""
    pairs = equal = 0
    for one, other in ((ours, reference), (ours.T, reference.T)):
        first, second = np.triu_indices(one.shape[1], k=1)
        difference = other[:, first] - other[:, second]
        counted = np.abs(difference) > RANK_TIE
        same = np.sign(one[:, first] - one[:, second]) == np.sign(difference)
        pairs += int(counted.sum())
        equal += int((same & counted).sum())
    share = equal / pairs if pairs else 1.0
    return RankMeasurement(audio=audio, seconds=seconds, pairs=pairs, equal_ranks=share)


def _number(value: np.floating, worst: float) -> float:
    """Replace a figure that is not a number by the worst: JSON has no NaN."""
    return float(value) if np.isfinite(value) else worst
