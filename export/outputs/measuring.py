"""The figure that compares an artefact's tokens with the reference's."""

from collections.abc import Callable, Sequence
from copy import deepcopy

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ...reference.rvq import ResidualVectorQuantize, VectorQuantize
from ...runtime.bundle.certificate import TIE_ERRORS


@torch.inference_mode()
def equal_tokens(
    rvq: ResidualVectorQuantize,
    x: Tensor,
    tokens: np.ndarray,
    exact: Callable[[], Tensor] | None = None,
) -> float:
    """Return the share of tokens that equal the reference's, from 0 to 1.

    Each is compared with the code that the reference takes for what the *same* earlier tokens
    leave of the reference's own ``x``: after a near tie was decided the other way, the later stages
    have another residual, and the other codes that they rightly take are no further differences.
    Where all earlier tokens are equal, this is the reference's own token.

    A code that differs counts as equal if rounding explains it. In float64 the reference has a
    latent z; in fp32 it has another one, off by an error e. An error as large turns z by |e| / |z|
    at most, and so changes the difference of two codes' cosines with it by no more than |e| / |z|
    times their distance. A code whose cosine is below the best by at most ``TIE_ERRORS`` times that
    is one that a sound fp32 program may take.

    Args:
        rvq: the reference's.
        x: (batch, width, steps) float32, what it quantizes.
        tokens: int (batch, stages, steps). Of any other shape, or beyond the codes, none is equal.
        exact: returns the same as ``x``, but computed in float64 from the waveform on; called only
            if a code differs. ``x`` itself when left out.
    """
    shape = (len(x), len(rvq.stages), x.shape[-1])
    codes = rvq.stages[0].codebook.num_embeddings
    valid = tokens.dtype.kind == "i" and tokens.shape == shape and tokens.size > 0
    if not valid or tokens.min() < 0 or tokens.max() >= codes or not x.isfinite().all():
        return 0.0
    ours = torch.from_numpy(tokens).long().to(x.device)
    equal, latents, residual = [], [], x
    for stage, chosen in zip(rvq.stages, ours.unbind(1), strict=True):
        latents.append(stage.in_proj(residual))
        equal.append(chosen == stage.nearest(latents[-1]))
        residual = residual - stage.from_tokens(chosen)
    same = torch.stack(equal, 1)
    differing = torch.nonzero(~same.all(1), as_tuple=True)
    if len(differing[0]):

        def at(values: Tensor) -> Tensor:
            """(batch, width, steps) -> (1, width, differing steps)."""
            return values[differing[0], :, differing[1]].T[None]

        residual = at(x.double() if exact is None else exact())
        is_tie = _ties(rvq, residual, list(map(at, latents)), at(ours)[0])
        same[differing[0], :, differing[1]] |= is_tie.T
    return float(same.double().mean())


def _ties(
    rvq: ResidualVectorQuantize, exact: Tensor, latents: Sequence[Tensor], tokens: Tensor
) -> Tensor:
    """Whether codes are as near as the nearest, but for rounding: bool (stages, steps).

    Args:
        rvq: the reference's.
        exact: (1, width, steps) float64, what it quantizes.
        latents: of each stage, (1, code_width, steps) float32, with their rounding errors.
        tokens: int (stages, steps), the codes.
    """
    found = []
    for stage, latent, ours in zip(deepcopy(rvq).double().stages, latents, tokens, strict=True):
        found.append(_ties_of_stage(stage, stage.in_proj(exact), latent, ours[None])[0])
        exact = exact - stage.from_tokens(ours[None])
    return torch.stack(found)


def _ties_of_stage(stage: VectorQuantize, exact: Tensor, latent: Tensor, tokens: Tensor) -> Tensor:
    """Whether one stage's codes are as near as the nearest: bool (batch, steps).

    Args:
        stage: in float64.
        exact: (batch, code_width, steps) float64, the latent.
        latent: the same in float32, with its rounding error.
        tokens: int (batch, steps), the codes.
    """
    error = (latent.double() - exact).norm(dim=1) / exact.norm(dim=1)
    error = error.clamp(min=torch.finfo(torch.float32).eps)  # of a latent that is exact by chance
    codes = F.normalize(stage.codebook.weight)
    cosines = F.normalize(exact.mT, dim=-1) @ codes.T
    best = cosines.max(-1)
    margin = best.values - cosines.gather(-1, tokens[..., None])[..., 0]
    apart = (codes[best.indices] - codes[tokens]).norm(dim=-1)
    return margin <= TIE_ERRORS * error * apart
