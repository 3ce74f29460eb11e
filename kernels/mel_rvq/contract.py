"""MelRvq, the contract: Mel-RVQ's tokens without its wide residual.

A stage projects what the earlier ones left to a few dimensions, takes the nearest code by cosine
and subtracts that code, projected back. Everything but the choice is linear, so stage j sees

    A_j (x - sum_i (B_i code_i + b_i)) + a_j  =  (A_j x + a_j) - sum_i A_j (B_i code_i + b_i)

with i the stages before it. All first terms are one projection of x; the others are a row for each
stage i and code, known beforehand. A latent's length does not change which code is nearest, so it
is never normalised.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class Stage:
    """What one stage learned: A, a, its codes, B, b. Any float dtype.

    Attributes:
        down: (code_width, width), with ``down_bias`` (code_width,).
        codes: (codes, code_width), as learned, not normalised.
        up: (width, code_width), with ``up_bias`` (width,).
    """

    down: np.ndarray
    down_bias: np.ndarray
    codes: np.ndarray
    up: np.ndarray
    up_bias: np.ndarray


@dataclass(frozen=True, eq=False)
class MelRvqTables:
    """What every implementation reads; float32.

    Attributes:
        projection: (stages * code_width, width), all stages' A.
        bias: (stages * code_width,), all stages' a.
        codebooks: (stages, codes, code_width), of length 1.
        corrections: (stages, codes, stages * code_width): what a stage's code takes from each
            later stage's latent; zero for itself and the earlier ones.
    """

    projection: np.ndarray
    bias: np.ndarray
    codebooks: np.ndarray
    corrections: np.ndarray


def tables(stages: Sequence[Stage]) -> MelRvqTables:
    """Fold the stages' weights, in float64, rounded once."""
    exact = [_exact(stage) for stage in stages]
    projection = np.concatenate([stage.down for stage in exact])
    corrections = []
    for index, reconstruction in enumerate(_reconstructions(exact)):
        taken = reconstruction @ projection.T
        taken[:, : (index + 1) * exact[0].down.shape[0]] = 0
        corrections.append(taken)
    lengths = [np.linalg.norm(stage.codes, axis=1, keepdims=True) for stage in exact]
    unit = [
        stage.codes / np.maximum(each, 1e-12) for stage, each in zip(exact, lengths, strict=True)
    ]
    return MelRvqTables(
        projection.astype(np.float32),
        np.concatenate([stage.down_bias for stage in exact]).astype(np.float32),
        np.stack(unit).astype(np.float32),
        np.stack(corrections).astype(np.float32),
    )


def reconstructions(stages: Sequence[Stage]) -> np.ndarray:
    """(stages, codes, width) float32: what each code stands for. Tokens' sum is the quantised x."""
    return np.stack(_reconstructions([_exact(stage) for stage in stages])).astype(np.float32)


def _reconstructions(exact: Sequence[Stage]) -> list[np.ndarray]:
    return [stage.codes @ stage.up.T + stage.up_bias for stage in exact]


def _exact(stage: Stage) -> Stage:
    fields = (stage.down, stage.down_bias, stage.codes, stage.up, stage.up_bias)
    return Stage(*(each.astype(np.float64) for each in fields))
