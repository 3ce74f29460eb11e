"""The audio tower, and the clips it listens to."""

from typing import Literal

import torch
from torch import Tensor, nn

from ..config import MuQConfig
from ..muq import MuQ
from .config import MuLanConfig
from .transformer import Transformer

LastClip = Literal["wrapped", "padded"]


class AudioTower(nn.Module):
    """One hidden state of a MuQ, a linear layer, a transformer, the mean over time."""

    def __init__(self, config: MuLanConfig, muq: MuQConfig) -> None:
        super().__init__()
        self.level = config.audio_model.use_layer_idx
        self.model = MuQ(muq)
        # Never called; in every official checkpoint.
        self.aggregator = nn.Conv1d(25, 1, 1)
        self.transformer = Transformer(config.audio_transformer)
        self.proj = nn.Linear(muq.encoder_dim, config.audio_transformer.dim)

    def forward(self, clips: Tensor) -> Tensor:
        """(batch, samples) float at 24 kHz, more than 1024 samples -> (batch, width)."""
        states = self.model(clips).hidden_states[self.level]
        return self.transformer(self.proj(states)).mean(dim=1)


def clips_of(waveform: Tensor, clip_samples: int, last_clip: LastClip = "wrapped") -> Tensor:
    """Cut tracks into consecutive clips.

    Args:
        waveform: (batch, samples).
        clip_samples: length of a clip.
        last_clip: what fills it. "wrapped", as in the official package: the track's beginning,
            once, so that a track shorter than half a clip becomes one clip twice its length.
            "padded": zeros.

    Returns:
        (batch, clips, samples of a clip).
    """
    whole, rest = divmod(waveform.shape[1], clip_samples)
    if not rest:
        return waveform.unflatten(1, (whole, clip_samples))
    missing = clip_samples - rest
    if last_clip == "wrapped":
        filler = waveform[:, :missing]
    else:
        filler = waveform.new_zeros(len(waveform), missing)
    return torch.cat([waveform, filler], dim=1).unflatten(1, (whole + 1, -1))
