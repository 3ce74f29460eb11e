"""The log-mel of a training step: only the frames that are needed, a few at a time.

``reference.mel.LogMel`` is the oracle. It holds the whole batch's spectrum in memory at once, which
costs more than the transform itself; here a few frames go from window to mel within the cache.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from ...reference.mel import FLOOR, WINDOW_SAMPLES, LogMel

_FRAMES_AT_ONCE = 128  # on a CPU: their windows fill 1 MB
_REACH_SAMPLES = WINDOW_SAMPLES // 2 - 1  # of a frame to both sides; Hann's first weight is zero


def log_mel_frames(log_mel: LogMel, waveform: Tensor, wanted: Tensor) -> Tensor:
    """Some frames of a log-mel, with the values that ``log_mel`` gives.

    Args:
        log_mel: the reference.
        waveform: (batch, samples) float32.
        wanted: (batch, samples // hop) bool.

    Returns:
        (frames wanted, mels) float32, row by row, in order.
    """
    side = WINDOW_SAMPLES // 2
    padded = F.pad(waveform[:, None], (side, side), mode="reflect")[:, 0]
    windows = padded.unfold(1, WINDOW_SAMPLES, log_mel.hop_samples)
    rows, frames = wanted.nonzero(as_tuple=True)
    if not len(rows):
        return waveform.new_empty(0, log_mel.filterbank.shape[1])
    size = _FRAMES_AT_ONCE if waveform.device.type == "cpu" else len(rows)
    parts = [
        torch.view_as_real(torch.fft.rfft(windows[some] * log_mel.window)).square().sum(-1)
        @ log_mel.filterbank
        for some in zip(rows.split(size), frames.split(size), strict=True)
    ]
    decibel = 10.0 * torch.log10(torch.cat(parts).clamp_(min=FLOOR))
    return (decibel - log_mel.mean_db) / log_mel.std_db


def reached(is_masked: Tensor, hop_samples: int) -> Tensor:
    """Which frames a masked frame's samples reach: (batch, frames) bool -> the same shape.

    Frame f begins at sample ``f * hop_samples`` and its window is centred there.
    """
    before, after = -(-_REACH_SAMPLES // hop_samples), _REACH_SAMPLES // hop_samples
    padded = F.pad(is_masked.float()[:, None], (before, after))
    return F.max_pool1d(padded, before + after + 1, stride=1)[:, 0] > 0
