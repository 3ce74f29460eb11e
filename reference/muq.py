"""MuQ: waveform to hidden states (Zhu et al. 2025, arXiv 2501.01108)."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from .config import MuQConfig
from .conformer import ConformerEncoder
from .front_end import Conv2dSubsampling
from .mel import LogMel
from .rvq import RandomProjectionQuantizer, ResidualVectorQuantize, VectorQuantize

RVQ_CODES = 1024
RVQ_CODE_WIDTH = 16
VQ_CODE_WIDTH = 8


@dataclass
class MuQOutput:
    """``hidden_states[0]`` is the front end's output, the last is normalised; each is
    (batch, steps, width)."""

    hidden_states: tuple[Tensor, ...]

    @property
    def last_hidden_state(self) -> Tensor:
        """The features: the deepest level."""
        return self.hidden_states[-1]


class MuQModel(nn.Module):
    """Everything with weights, under upstream's names."""

    def __init__(self, config: MuQConfig) -> None:
        super().__init__()
        width = config.encoder_dim
        self.preprocessor_melspec_2048 = LogMel(
            config.hop_length,
            config.n_mels,
            config.stat["melspec_2048_mean"],
            config.stat["melspec_2048_std"],
        )
        self._add_tokenizer(config)
        self.conv = Conv2dSubsampling(config.conv_dim, width, config.frames_per_step, config.n_mels)
        self.conformer = ConformerEncoder(width, config.encoder_depth, config.conformer)
        self.linear = nn.Linear(width, config.codebook_size)
        if config.recon_loss_ratio:
            self.recon_proj = nn.Linear(width, config.n_mels * config.frames_per_step)
        self.cls_token = nn.Parameter(torch.randn(width))

    def _add_tokenizer(self, config: MuQConfig) -> None:
        width = config.n_mels * config.frames_per_step
        if config.use_rvq_target:
            self.rvq: nn.Module = ResidualVectorQuantize(
                width,
                config.rvq_n_codebooks,
                RVQ_CODES,
                RVQ_CODE_WIDTH,
                config.rvq_multi_layer_num,
            )
        elif config.use_vq_target:
            self.rvq = VectorQuantize(width, RVQ_CODES, VQ_CODE_WIDTH)
        else:
            self.quantizer_melspec_2048 = RandomProjectionQuantizer(
                width, config.codebook_dim, config.codebook_size
            )


class MuQ(nn.Module):
    """The model as users call it; its state dict is the official one."""

    def __init__(self, config: MuQConfig) -> None:
        super().__init__()
        self.config = config
        self.model = MuQModel(config)

    def forward(self, waveform: Tensor, attention_mask: Tensor | None = None) -> MuQOutput:
        """All hidden states of a batch of waveforms.

        Args:
            waveform: (batch, samples) float at 24 kHz, more than 1024 samples.
            attention_mask: (batch, samples), zero where a sample is padding. Sampled at every
                samples // steps, as the official package does.
        """
        x = self.model.conv(self.model.preprocessor_melspec_2048(waveform))
        if attention_mask is None:
            return MuQOutput(self.model.conformer(x))
        stride = attention_mask.shape[-1] // x.shape[1]
        mask = attention_mask.bool()[:, ::stride][:, : x.shape[1]]
        return MuQOutput(self.model.conformer(x, mask))
