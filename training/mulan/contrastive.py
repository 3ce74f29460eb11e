"""The loss that teaches MuQ-MuLan which text describes which music."""

from collections.abc import Callable

import torch
from torch import Tensor

from ...errors import UsageError


def decoupled_contrastive_loss(
    audio: Tensor,
    text: Tensor,
    temperatures: Tensor,
    all_gather: Callable[[Tensor], Tensor] | None = None,
) -> Tensor:
    """Decoupled contrastive learning (Yeh et al. 2021, arXiv 2110.06848) in both directions.

    A pair's similarity is compared with those of its audio to all other texts, and of its text to
    all other audio. Unlike in CLIP's loss it is no part of the sum it is compared with, which
    keeps gradients alive in small batches.

    Args:
        audio: (pairs, width), of length one.
        text: (pairs, width), of length one; row i describes the audio in row i.
        temperatures: the model's ``mulan.contrast.temperatures``, one number: the logarithm of what
            cosines are multiplied by.
        all_gather: (pairs, width) of this process to those of all processes, in one order, with
            gradients that flow back to all of them; none where there is one process. With
            Lightning Fabric: ``lambda x: fabric.all_gather(x, sync_grads=True).flatten(0, 1)``.

    Returns:
        A scalar, the same on every process.

    Raises:
        UsageError: a single pair, which has nothing to be told apart from.
    """
    if all_gather is not None:
        audio, text = all_gather(audio), all_gather(text)
    if len(audio) < 2:
        raise UsageError("a batch needs two pairs or more.")
    similarities = audio @ text.T * temperatures.reshape(()).exp()
    itself = torch.eye(len(audio), dtype=torch.bool, device=audio.device)
    others = similarities.masked_fill(itself, float("-inf"))
    denominators = 0.5 * (others.logsumexp(dim=0) + others.logsumexp(dim=1))
    return (denominators - similarities.diagonal()).mean()
