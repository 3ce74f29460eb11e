"""Fit a residual vector quantizer to mels or latents (paper section 3.2)."""

from typing import TYPE_CHECKING, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...reference.mel import LogMel
from ...reference.muq import MuQ
from ...reference.rvq import ResidualVectorQuantize, VectorQuantize, stacked
from ...reference.rvq_file import RvqConfig
from ..loop.train import Trainee

if TYPE_CHECKING:
    from lightning_fabric import Fabric

COMMITMENT_WEIGHT = 0.25
STALE_STEPS = 100  # a code unused for so long is replaced


class StackedMel(nn.Module):
    """Waveform to what Mel-RVQ quantizes: a step's mel frames in sequence."""

    def __init__(self, log_mel: LogMel, frames_per_step: int) -> None:
        super().__init__()
        self.log_mel = log_mel
        self.frames_per_step = frames_per_step

    def forward(self, waveform: Tensor) -> Tensor:
        """(batch, samples) -> (batch, frames * mels, steps)."""
        return stacked(self.log_mel(waveform), self.frames_per_step)


class Latent(nn.Module):
    """Waveform to a level of a frozen MuQ, normalised: what a latent RVQ quantizes."""

    def __init__(self, muq: MuQ, level: int, mean: float = 0.0, std: float = 1.0) -> None:
        super().__init__()
        self.muq = muq
        self.level = level
        self.mean = mean
        self.std = std

    def forward(self, waveform: Tensor) -> Tensor:
        """(batch, samples) -> (batch, width, steps)."""
        states = self.muq(waveform).hidden_states[self.level]
        return ((states - self.mean) / self.std).transpose(1, 2)


class RvqFit(Trainee):
    """The fitting loss: 0.25 commitment + codebook + L1 reconstruction.

    Each stage has this loss for what the earlier ones leave, and no gradient crosses stages. The
    paper's looks at what the last one leaves; measured so, nothing keeps a stage from leaving more
    than it got, in the hope of later ones.

    A code that nothing was nearest to for ``STALE_STEPS`` steps becomes a random latent of the
    newest batch.

    Args:
        rvq: what is fitted.
        source: waveform to (batch, width, steps); frozen.
    """

    def __init__(self, rvq: ResidualVectorQuantize, source: nn.Module) -> None:
        super().__init__()
        self.rvq = rvq
        self.source = source.requires_grad_(False).eval()
        self._latents: list[Tensor] = []
        self._used: list[Tensor] = []

    @property
    def weights(self) -> nn.Module:
        """The quantizer alone: the source is frozen."""
        return self.rvq

    def train(self, mode: bool = True) -> "RvqFit":
        """Set the mode of the quantizer; the source stays in eval mode."""
        super().train(mode)
        self.source.eval()
        return self

    def forward(self, waveform: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """(batch, samples) -> the loss, and its parts."""
        # Residuals of residuals: also under autocast this stays float32.
        with torch.autocast(waveform.device.type, enabled=False):
            with torch.no_grad():
                x = self.source(waveform)
            return self._loss(x)

    def _loss(self, x: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        residual = x
        commitment = codebook = reconstruction = x.new_zeros(())
        self._latents, self._used = [], []
        for quantizer in self.rvq.quantizers:
            assert isinstance(quantizer, VectorQuantize)
            latent = quantizer.in_proj(residual)
            tokens = quantizer.nearest(latent)
            code = quantizer.codebook(tokens).transpose(1, 2)
            commitment = commitment + F.mse_loss(latent, code.detach())
            codebook = codebook + F.mse_loss(code, latent.detach())
            # Straight through: the encoder gets the decoder's gradient.
            left = residual - quantizer.out_proj(latent + (code - latent).detach())
            reconstruction = reconstruction + left.abs().mean()
            residual = left.detach()
            self._latents.append(latent.detach().transpose(1, 2).flatten(0, 1))
            self._used.append(counts(tokens, quantizer))
        loss = COMMITMENT_WEIGHT * commitment + codebook + reconstruction
        figures = {
            "commitment": commitment.detach(),
            "codebook": codebook.detach(),
            "reconstruction": residual.abs().mean(),
        }
        return loss, figures

    @torch.no_grad()
    def after_step(self, fabric: "Fabric") -> None:
        """Replace stale codes, alike on all processes."""
        quantizers = zip(self.rvq.quantizers, self._latents, self._used, strict=True)
        for quantizer, latents, used in quantizers:
            assert isinstance(quantizer, VectorQuantize)
            if fabric.world_size > 1:
                used = cast(Tensor, fabric.all_reduce(used, reduce_op="sum"))
            counter = quantizer.stale_counter
            counter.add_(1).masked_fill_(used > 0, 0)
            stale = counter >= STALE_STEPS
            if not stale.any():
                continue
            chosen = torch.randint(len(latents), (int(stale.sum()),), device=latents.device)
            quantizer.codebook.weight[stale] = fabric.broadcast(latents[chosen])
            counter[stale] = 0


def counts(tokens: Tensor, quantizer: VectorQuantize) -> Tensor:
    """(codes,): how often each code occurs."""
    return torch.bincount(tokens.flatten(), minlength=quantizer.codebook.num_embeddings)


@torch.no_grad()
def stage_figures(rvq: ResidualVectorQuantize, x: Tensor) -> list[dict[str, float]]:
    """What each stage leaves and uses, on (batch, width, steps).

    Returns:
        for each stage its "residual", the mean absolute error after it, in units of ``x``;
        "used", how many of its codes occur; and "perplexity", the exponential of the codes'
        entropy.
    """
    residual, rows = x, []
    for quantizer in rvq.quantizers:
        assert isinstance(quantizer, VectorQuantize)
        quantized, tokens = quantizer(residual)
        residual = residual - quantized
        used = counts(tokens, quantizer).double()
        shares = used[used > 0] / used.sum()
        rows.append(
            {
                "residual": float(residual.abs().mean()),
                "used": int((used > 0).sum()),
                "perplexity": float((-(shares * shares.log()).sum()).exp()),
            }
        )
    return rows


@torch.no_grad()
def statistics(source: nn.Module, waveforms: list[Tensor]) -> tuple[float, float]:
    """The mean and standard deviation of what ``source`` makes of each (batch, samples)."""
    count, total, squares = 0, 0.0, 0.0
    for waveform in waveforms:
        x = source(waveform).double()
        count += x.numel()
        total += float(x.sum())
        squares += float(x.square().sum())
    mean = total / count
    return mean, max(squares / count - mean * mean, 1e-12) ** 0.5


def initial_rvq(config: RvqConfig, seed: int) -> ResidualVectorQuantize:
    """An RVQ with torch's initial weights, seeded, and codebooks that the first step replaces:
    at the start all codes but the used are stale, and become latents."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        rvq = config.build()
    for quantizer in rvq.quantizers:
        assert isinstance(quantizer, VectorQuantize)
        quantizer.stale_counter.fill_(STALE_STEPS)
    return rvq
