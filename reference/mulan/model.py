"""MuQ-MuLan: music and text in one space (Zhu et al. 2025, arXiv 2501.01108, section 3.4)."""

import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...errors import AudioError, CheckpointError, UsageError
from ..config import MuQConfig
from ..mel import WINDOW_SAMPLES
from ..muq import MuQ
from .config import MuLanConfig
from .transformer import Transformer
from .xlm_roberta import XLMRoberta, XLMRobertaConfig

LastClip = Literal["wrapped", "padded"]

INITIAL_TEMPERATURE = 10.0  # cosines are multiplied by it in the loss, before it is learned
_SHORTEST_SAMPLES = WINDOW_SAMPLES // 2 + 1  # what the mel's reflection at the ends needs


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


class TextTower(nn.Module):
    """XLM-RoBERTa's last hidden state, a linear layer, a transformer, the mean over tokens.

    The linear layer is there only where the two widths differ.
    """

    def __init__(self, config: MuLanConfig, xlm_roberta: XLMRobertaConfig) -> None:
        super().__init__()
        width = config.text_transformer.dim
        self.model = XLMRoberta(xlm_roberta)
        self.transformer = Transformer(config.text_transformer)
        differ = config.text_model.model_dim not in (None, width)
        self.proj = nn.Linear(xlm_roberta.hidden_size, width) if differ else nn.Identity()

    def forward(
        self, ids: Tensor, mask: Tensor | None = None, padding_counts: bool = False
    ) -> Tensor:
        """Texts' tokens to one vector each.

        Args:
            ids: (batch, tokens) integers.
            mask: (batch, tokens), zero where a token is padding; none where none is.
            padding_counts: let padding take part in the transformer and in the mean, as the
                official package does: there a text's embedding depends on the longest text of its
                batch. Otherwise it is that of the text alone, in any batch.

        Returns:
            (batch, width).
        """
        real = torch.ones_like(ids, dtype=torch.bool) if mask is None else mask.bool()
        states = self.proj(self.model(ids, real))
        if padding_counts:
            return self.transformer(states).mean(dim=1)
        states = self.transformer(states, real).masked_fill(~real[..., None], 0.0)
        return states.sum(dim=1) / real.sum(dim=1, keepdim=True)


class Contrast(nn.Module):
    """What the contrastive loss learns: the logarithm of the temperature."""

    def __init__(self) -> None:
        super().__init__()
        self.temperatures = nn.Parameter(torch.full((1, 1, 1), math.log(INITIAL_TEMPERATURE)))


class Towers(nn.Module):
    """Everything with weights, under upstream's names."""

    def __init__(self, config: MuLanConfig, muq: MuQConfig, xlm_roberta: XLMRobertaConfig) -> None:
        super().__init__()
        width = config.mulan.dim_latent
        self.audio = AudioTower(config, muq)
        self.text = TextTower(config, xlm_roberta)
        self.text_to_latents = nn.Linear(config.text_transformer.dim, width)
        self.audio_to_latents = nn.Linear(config.audio_transformer.dim, width)
        self.contrast = Contrast()


class MuLan(nn.Module):
    """The model as users call it; its state dict is the official one.

    The cosine of a clip's and a text's embedding is their product, for both have length one.

    Args:
        config: of the towers.
        muq: of the encoder below the audio tower.
        xlm_roberta: of the encoder below the text tower.

    Raises:
        CheckpointError: the configurations do not fit each other.
    """

    def __init__(self, config: MuLanConfig, muq: MuQConfig, xlm_roberta: XLMRobertaConfig) -> None:
        super().__init__()
        check_fit(config, muq, xlm_roberta)
        self.config = config
        self.mulan = Towers(config, muq, xlm_roberta)

    def audio_latents(self, clips: Tensor) -> Tensor:
        """Embeddings of clips, as training needs them: with gradients.

        Args:
            clips: (batch, samples) float at 24 kHz, more than 1024 samples.

        Returns:
            (batch, dim_latent), of length one.
        """
        return F.normalize(self.mulan.audio_to_latents(self.mulan.audio(clips)), dim=-1)

    def text_latents(
        self, ids: Tensor, mask: Tensor | None = None, padding_counts: bool = False
    ) -> Tensor:
        """Embeddings of texts.

        Args:
            ids, mask, padding_counts: as TextTower's.

        Returns:
            (batch, dim_latent), of length one.

        Raises:
            UsageError: more tokens than the encoder has positions.
        """
        most = self.mulan.text.model.config.max_tokens
        if ids.shape[1] > most:
            raise UsageError(f"a text of {ids.shape[1]} tokens: {most} at most, cut it before.")
        states = self.mulan.text(ids, mask, padding_counts)
        return F.normalize(self.mulan.text_to_latents(states), dim=-1)

    @torch.no_grad()
    def embed_audio(
        self, waveform: Tensor, last_clip: LastClip = "wrapped", clips_at_once: int = 4
    ) -> Tensor:
        """Embeddings of whole tracks: the mean of their clips' embeddings, so not of length one.

        Args:
            waveform: (batch, samples) float at 24 kHz, of any length. Memory beyond that of a copy
                of it does not grow with the length.
            last_clip: what fills an incomplete last clip, see ``clips_of``.
            clips_at_once: how many clips are computed together.

        Returns:
            (batch, dim_latent).

        Raises:
            AudioError: too short for a mel spectrogram.
        """
        clips = clips_of(waveform, self.config.clip_samples, last_clip)
        if clips.shape[1] == 0 or clips.shape[2] < _SHORTEST_SAMPLES:
            raise AudioError(
                f"{waveform.shape[1]} samples: too short, "
                f"a clip has to have {_SHORTEST_SAMPLES} at least."
            )
        parts = [self.audio_latents(part) for part in clips.flatten(0, 1).split(clips_at_once)]
        return torch.cat(parts).unflatten(0, clips.shape[:2]).mean(dim=1)


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


def check_fit(config: MuLanConfig, muq: MuQConfig, xlm_roberta: XLMRobertaConfig) -> None:
    """Raise CheckpointError if the configurations do not fit each other."""
    text_width = config.text_model.model_dim or config.text_transformer.dim
    levels = muq.encoder_depth + 1
    level = config.audio_model.use_layer_idx
    for name, stated, actual in (
        (config.audio_model.name, config.audio_model.model_dim, muq.encoder_dim),
        (config.text_model.name, text_width, xlm_roberta.hidden_size),
    ):
        if stated != actual:
            raise CheckpointError(f"config: {name} is {actual} wide, model_dim says {stated}.")
    if not -levels <= level < levels:
        raise CheckpointError(
            f"config: use_layer_idx is {level}, {config.audio_model.name} has {levels} levels."
        )
