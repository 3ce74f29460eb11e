"""Masked prediction of tokens, MuQ's pre-training (paper section 3.1)."""

from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...reference.config import SAMPLE_RATE_HZ, MuQConfig
from ...reference.muq import RVQ_CODES, MuQ
from ...reference.rvq import RandomProjectionQuantizer, ResidualVectorQuantize, stacked
from ..loop.train import Trainee
from .mel import log_mel_frames, reached
from .shards import Shards, share_batch_norms

NOISE_STD = 0.1  # of what stands in a masked segment's place


class MaskedPrediction(Trainee):
    """Predict the tokens of masked segments from the rest of the music.

    Args:
        muq: what is trained; its own tokenizer is frozen.
        threads: into how many shards a batch is divided, a thread each; on a CPU, and without
            dropout, whose random numbers would come in another order each time.
    """

    def __init__(self, muq: MuQ, threads: int = 1) -> None:
        super().__init__()
        self.muq = muq
        self._shards = Shards(threads) if threads > 1 else None
        if self._shards is not None:
            share_batch_norms(muq)
        for frozen in (self._tokenizer, muq.model.conformer.pos_conv_embed):
            frozen.requires_grad_(False)
        muq.model.cls_token.requires_grad_(False)  # never used

    @property
    def threads(self) -> int:
        """How many shards a batch is divided into."""
        return super().threads if self._shards is None else self._shards.count

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
        with torch.no_grad():
            masked, is_masked = mask(waveform, self.muq.config)
        inputs = (waveform, masked, is_masked, tokens)
        loss_of = partial(self._share, is_masked.sum())
        if self._shards is None:
            loss, figures = loss_of(*inputs)
        else:
            trained = [each for each in self.parameters() if each.requires_grad]
            loss, figures = self._shards.run(loss_of, inputs, trained)
        accuracies = {name: each for name, each in figures.items() if name != "reconstruction"}
        return loss, {**figures, "accuracy": torch.stack([*accuracies.values()]).mean()}

    def _share(
        self,
        steps: Tensor,
        waveform: Tensor,
        masked: Tensor,
        is_masked: Tensor,
        tokens: Tensor | None,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """What some crops add to the loss and the figures of a batch with so many masked steps."""
        model, config = self.muq.model, self.muq.config
        # Also under autocast: tokens of rounded mels are other tokens.
        with torch.no_grad(), torch.autocast(waveform.device.type, enabled=False):
            needs_clean = tokens is None or bool(config.recon_loss_ratio)
            log_mel, clean = self._mels(waveform, masked, is_masked, needs_clean)
            targets = (
                self.tokenize(clean)[0].T if tokens is None else tokens.transpose(1, 2)[is_masked]
            )
        hidden = model.conformer(model.conv(log_mel))[-1][is_masked]
        logits = model.linear(hidden).float().unflatten(-1, (targets.shape[1], -1))
        count = steps * targets.shape[1]
        loss = F.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="sum") / count
        right = (logits.detach().argmax(-1) == targets).sum(0) / steps
        figures = {f"accuracy_{stage}": each for stage, each in enumerate(right)}
        if config.recon_loss_ratio:
            rebuilt = model.recon_proj(hidden)
            wanted = clean[0].T
            squares = F.mse_loss(rebuilt, wanted, reduction="sum")
            mel_loss = squares / (steps * wanted.shape[1])
            figures["reconstruction"] = mel_loss.detach()
            loss = loss + config.recon_loss_ratio * mel_loss
        return loss, figures

    def _mels(
        self, waveform: Tensor, masked: Tensor, is_masked: Tensor, needs_clean: bool
    ) -> tuple[Tensor, Tensor]:
        """The masked waveform's mel, (batch, mels, frames), and the masked steps' own stacked
        mels, (1, width, masked steps), empty unless they are needed.

        A frame that no masked sample reaches is the same in both, and computed once.
        """
        log_mel, per_step = (
            self.muq.model.preprocessor_melspec_2048,
            self.muq.config.frames_per_step,
        )
        frames = waveform.shape[1] // log_mel.hop_samples
        in_mask = is_masked.repeat_interleave(per_step, dim=1)
        in_mask = F.pad(in_mask, (0, frames - in_mask.shape[1]))
        is_reached = reached(in_mask, log_mel.hop_samples)
        mel = waveform.new_empty(*in_mask.shape, log_mel.filterbank.shape[1])
        wanted = ~is_reached | in_mask if needs_clean else ~is_reached
        mel[wanted] = log_mel_frames(log_mel, waveform, wanted)
        clean = mel[in_mask] if needs_clean else mel[:0].flatten(0, 1)
        mel[is_reached] = log_mel_frames(log_mel, masked, is_reached)
        return mel.transpose(1, 2), stacked(clean.T[None], per_step)

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
