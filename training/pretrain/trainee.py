"""Masked prediction of tokens, MuQ's pre-training (paper section 3.1)."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...reference.config import SAMPLE_RATE_HZ, MuQConfig
from ...reference.muq import RVQ_CODES, MuQ
from ...reference.rvq import RandomProjectionQuantizer, ResidualVectorQuantize, stacked
from ..loop.train import Trainee

NOISE_STD = 0.1  # of what stands in a masked segment's place


class MaskedPrediction(Trainee):
    """Predict the tokens of masked segments from the rest of the music.

    Args:
        muq: what is trained; its own tokenizer is frozen.
    """

    def __init__(self, muq: MuQ) -> None:
        super().__init__()
        self.muq = muq
        for frozen in (self._tokenizer, muq.model.conformer.pos_conv_embed):
            frozen.requires_grad_(False)
        muq.model.cls_token.requires_grad_(False)  # never used

    @property
    def weights(self) -> nn.Module:
        """The whole MuQ."""
        return self.muq

    @property
    def _tokenizer(self) -> nn.Module:
        model = self.muq.model
        return model.rvq if self.muq.config.use_rvq_target else model.quantizer_melspec_2048

    def forward(
        self, waveform: Tensor, tokens: Tensor | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The mean cross-entropy over the masked steps and all codebooks, and accuracies.

        Args:
            waveform: (batch, samples) at 24 kHz, a whole number of steps long.
            tokens: (batch, codebooks, steps); the tokenizer's of the unmasked waveform when left
                out.
        """
        model, config = self.muq.model, self.muq.config
        # Also under autocast: tokens of rounded mels are other tokens.
        with torch.no_grad(), torch.autocast(waveform.device.type, enabled=False):
            clean = stacked(model.preprocessor_melspec_2048(waveform), config.frames_per_step)
            if tokens is None:
                tokens = self.tokenize(clean)
            masked, is_masked = mask(waveform, config)
            log_mel = model.preprocessor_melspec_2048(masked)
        hidden = model.conformer(model.conv(log_mel))[-1][is_masked]
        targets = tokens.transpose(1, 2)[is_masked]
        logits = model.linear(hidden).float().unflatten(-1, (targets.shape[1], -1))
        loss = F.cross_entropy(logits.flatten(0, 1), targets.flatten())
        right = (logits.detach().argmax(-1) == targets).float().mean(0)
        figures = {f"accuracy_{stage}": each for stage, each in enumerate(right)}
        figures["accuracy"] = right.mean()
        if config.recon_loss_ratio:
            mel_loss = F.mse_loss(model.recon_proj(hidden), clean.transpose(1, 2)[is_masked])
            figures["reconstruction"] = mel_loss.detach()
            loss = loss + config.recon_loss_ratio * mel_loss
        return loss, figures

    def tokenize(self, log_mel: Tensor) -> Tensor:
        """(batch, width, steps) of stacked mels -> (batch, codebooks, steps)."""
        if isinstance(self._tokenizer, RandomProjectionQuantizer):
            return self._tokenizer(log_mel.transpose(1, 2))[:, None]
        tokens: Tensor = self._tokenizer(log_mel)[1]
        return tokens[:, : self.muq.config.codebook_size // RVQ_CODES]


def mask(waveform: Tensor, config: MuQConfig) -> tuple[Tensor, Tensor]:
    """Replace random segments of ``mask_hop`` seconds by noise.

    Each is drawn with ``mask_prob``; a crop in which none was drawn gets one, so that it counts.

    Returns:
        the masked (batch, samples), and which (batch, steps) lie in masked segments.
    """
    batch, samples = waveform.shape
    steps = samples // config.step_samples
    hop_steps = round(config.mask_hop * SAMPLE_RATE_HZ / config.step_samples)
    segments = steps // hop_steps
    draws = torch.rand(batch, segments, device=waveform.device)
    chosen = (draws < config.mask_prob) | (draws == draws.amin(1, keepdim=True))
    padding = (0, steps - segments * hop_steps)
    is_masked = F.pad(chosen.repeat_interleave(hop_steps, dim=1), padding)
    in_time = is_masked.repeat_interleave(config.step_samples, dim=1)
    in_time = F.pad(in_time, (0, samples - in_time.shape[1]))
    noise = NOISE_STD * torch.randn_like(waveform)
    return torch.where(in_time, noise, waveform), is_masked


def initial_muq(config: MuQConfig, rvq: ResidualVectorQuantize | None, seed: int) -> MuQ:
    """A MuQ with torch's initial weights, seeded, and a fitted tokenizer."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        muq = MuQ(config)
    if rvq is not None:
        muq.model.rvq.load_state_dict(rvq.state_dict())
    return muq
