"""Compare an artefact's tokens with the reference's."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ...reference.rvq import ResidualVectorQuantize, VectorQuantize
from ...runtime.bundle.certificate import NEAR_TIE


@torch.inference_mode()
def equal_tokens(rvq: ResidualVectorQuantize, x: Tensor, tokens: np.ndarray) -> float:
    """Return the share of tokens that equal the reference's, from 0 to 1.

    Each is compared with the code that the reference takes for what the *same* earlier tokens
    leave of the reference's own ``x``: after a near tie was decided the other way, the later stages
    have another residual, and the other codes that they rightly take are no further differences.
    Where all earlier tokens are equal, this is the reference's own token.

    A code that differs counts as equal if its cosine distance from the reference's latent,
    1 - cos, is at most 1 + ``NEAR_TIE`` times that of the nearest code, in float64.

    Args:
        rvq: the reference's.
        x: (batch, width, steps) float32, what it quantizes.
        tokens: int (batch, stages, steps). Of any other shape, or beyond the codes, none is equal.
    """
    shape = (len(x), len(rvq.stages), x.shape[-1])
    codes = rvq.stages[0].codebook.num_embeddings
    valid = tokens.dtype.kind == "i" and tokens.shape == shape and tokens.size > 0
    if not valid or tokens.min() < 0 or tokens.max() >= codes or not x.isfinite().all():
        return 0.0
    equal, residual = [], x
    for stage, ours in zip(
        rvq.stages, torch.from_numpy(tokens).long().to(x.device).unbind(1), strict=True
    ):
        latent = stage.in_proj(residual)
        equal.append((ours == stage.nearest(latent)) | _as_near(stage, latent, ours))
        residual = residual - stage.from_tokens(ours)
    return float(torch.stack(equal).double().mean())


def _as_near(stage: VectorQuantize, latent: Tensor, tokens: Tensor) -> Tensor:
    """Whether codes are as near as the nearest, but for rounding: bool (batch, steps)."""
    unit = F.normalize(latent.double().transpose(1, 2), dim=-1)
    distances = 1 - unit @ F.normalize(stage.codebook.weight.double()).T
    ours = distances.gather(-1, tokens[..., None])[..., 0]
    return ours <= (1 + NEAR_TIE) * distances.amin(-1)
