"""How well scores rank the right candidates."""

import numpy as np

MEDIAN_RANK = "median rank"
_DEPTHS = (1, 10)


def ranks(scores: np.ndarray, right: np.ndarray) -> np.ndarray:
    """The rank of each query's best right candidate, 1 being the top.

    Ties count against the model: a wrong candidate with the same score ranks before a right one,
    so that scores which are all equal find nothing.

    Args:
        scores: (queries, candidates), the higher the better.
        right: the same shape, bool; each query has at least one right candidate.

    Returns:
        int64 (queries,).

    Raises:
        ValueError: a score that is not finite, or a query without a right candidate.
    """
    if not np.isfinite(scores).all():
        raise ValueError("scores that are NaN or infinite have no order.")
    if not right.any(axis=1).all():
        raise ValueError("a query without a right candidate has no rank.")
    best = np.where(right, scores, -np.inf).max(axis=1, keepdims=True)
    found: np.ndarray = 1 + (~right & (scores >= best)).sum(axis=1)
    return found


def retrieval(ranked: np.ndarray) -> dict[str, float]:
    """R@1 and R@10, the shares of queries whose right candidate is among the first 1 or 10, and the
    median rank.

    Args:
        ranked: the queries' ranks, (queries,).
    """
    found = {f"R@{depth}": float(np.mean(ranked <= depth)) for depth in _DEPTHS}
    return {**found, MEDIAN_RANK: float(np.median(ranked))}
