"""What the log-mel asks of its input, in PyTorch and in the fused kernel alike."""

import torch
from torch import Tensor

from ...errors import SessionError
from . import contract as mel

_DTYPES = (torch.float32, torch.float16, torch.bfloat16)


def frames_of(waveform: Tensor, dtype: torch.dtype) -> int:
    """How many whole hops there are.

    Raises:
        SessionError: not (batch, samples) float32, too short to reflect, or an unknown output.
    """
    if waveform.ndim != 2 or waveform.dtype != torch.float32:
        raise SessionError(
            f"the waveform is {waveform.dtype} of shape {tuple(waveform.shape)}; give it float32, "
            "(batch, samples)."
        )
    samples = waveform.shape[1]
    if samples < mel.MINIMUM_SAMPLES:
        raise SessionError(
            f"the waveform has {samples} samples; the log-mel needs {mel.MINIMUM_SAMPLES} or more."
        )
    if dtype not in _DTYPES:
        raise SessionError(f"a log-mel in {dtype}; ask for float32, float16 or bfloat16.")
    return samples // mel.HOP_SAMPLES
