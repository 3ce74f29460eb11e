"""Compare tokens with what a stored RVQ takes, in NumPy; ``export`` has the same in PyTorch."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ..bundle.certificate import TIE_ERRORS

_Layers = Sequence[tuple[np.ndarray, np.ndarray]]
_Arrays = Mapping[str, np.ndarray]


@dataclass(frozen=True, eq=False)
class Stage:
    """A stage of an RVQ.

    Attributes:
        into: layers from what is quantized to the latent, each a weight (out, in) and a bias (out);
            between them are ReLUs.
        codebook: (codes, code_width).
        back: layers from a code to its part of what is quantized.
    """

    into: _Layers
    codebook: np.ndarray
    back: _Layers

    def latent(self, x: np.ndarray) -> np.ndarray:
        """(vectors, width) -> (vectors, code_width), in the dtype of x."""
        return _through(self.into, x)

    def from_tokens(self, tokens: np.ndarray, dtype: np.dtype) -> np.ndarray:
        """(vectors,) -> (vectors, width)."""
        return _through(self.back, self.codebook[tokens].astype(dtype))


def stages_of(arrays: _Arrays) -> list[Stage]:
    """The stages stored in arrays: ``0/in/0/weight``, ``0/in/0/bias``, ``0/codebook`` and so on."""
    found: list[Stage] = []
    while (codebook := arrays.get(f"{len(found)}/codebook")) is not None:
        into, back = (_layers(arrays, f"{len(found)}/{side}") for side in ("in", "out"))
        found.append(Stage(into, codebook, back))
    return found


def equal_tokens(
    stages: Sequence[Stage], x: np.ndarray, tokens: np.ndarray, exact: np.ndarray
) -> float:
    """Return the share of tokens that equal the reference's, from 0 to 1.

    A token is compared with the code that the reference takes for what the same earlier tokens
    leave of its own ``x``; another code counts as equal where the reference's rounding explains it
    (``TIE_ERRORS``).

    Args:
        stages: the reference's.
        x: (batch, width, steps) float32, what it quantizes.
        tokens: int (batch, stages, steps). Of any other shape, or beyond the codes, none is equal.
        exact: the same as ``x``, in float64.
    """
    shape = (len(x), len(stages), x.shape[-1])
    codes = len(stages[0].codebook)
    valid = tokens.dtype.kind == "i" and tokens.shape == shape and tokens.size > 0
    if not valid or tokens.min() < 0 or tokens.max() >= codes or not np.isfinite(x).all():
        return 0.0
    residual, exact_residual = _vectors(x), _vectors(exact.astype(np.float64))
    equal = []
    for index, stage in enumerate(stages):
        ours = tokens[:, index].reshape(-1)
        latent, exact_latent = stage.latent(residual), stage.latent(exact_residual)
        nearest = (_unit(latent) @ _unit(stage.codebook).T).argmax(-1)
        equal.append((ours == nearest) | _ties(stage, exact_latent, latent, ours))
        residual = residual - stage.from_tokens(ours, residual.dtype)
        exact_residual = exact_residual - stage.from_tokens(ours, exact_residual.dtype)
    return float(np.mean(equal))


def _ties(stage: Stage, exact: np.ndarray, latent: np.ndarray, tokens: np.ndarray) -> np.ndarray:
    """Whether codes are as near as the nearest, but for rounding: bool (vectors,)."""
    error = _norm(latent.astype(np.float64) - exact) / _norm(exact)
    error = np.maximum(error, np.finfo(np.float32).eps)  # of a latent that is exact by chance
    codes = _unit(stage.codebook)
    cosines = _unit(exact) @ codes.T.astype(np.float64)
    best = cosines.argmax(-1)
    vectors = np.arange(len(tokens))
    margin = cosines[vectors, best] - cosines[vectors, tokens]
    apart = _norm(codes[best] - codes[tokens])
    return margin <= TIE_ERRORS * error * apart


def _layers(arrays: _Arrays, name: str) -> _Layers:
    found: list[tuple[np.ndarray, np.ndarray]] = []
    while (weight := arrays.get(f"{name}/{len(found)}/weight")) is not None:
        found.append((weight, arrays[f"{name}/{len(found)}/bias"]))
    return found


def _through(layers: _Layers, x: np.ndarray) -> np.ndarray:
    for index, (weight, bias) in enumerate(layers):
        x = np.maximum(x, 0) if index else x
        x = x @ weight.T.astype(x.dtype) + bias.astype(x.dtype)
    return x


def _vectors(x: np.ndarray) -> np.ndarray:
    """(batch, width, steps) -> (batch * steps, width)."""
    return np.ascontiguousarray(np.moveaxis(x, 1, -1)).reshape(-1, x.shape[1])


def _unit(x: np.ndarray) -> np.ndarray:
    return x / np.maximum(np.linalg.norm(x, axis=-1, keepdims=True), 1e-12)


def _norm(x: np.ndarray) -> np.ndarray:
    found: np.ndarray = np.linalg.norm(x, axis=-1)
    return found
