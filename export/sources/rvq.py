"""Load the RVQ behind the output ``tokens``, the checkpoint's own or a fitted one, and check it."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from ...errors import CheckpointError
from ...reference.checkpoint import Checkpoint
from ...reference.rvq import ResidualVectorQuantize, stacked
from ...reference.rvq_file import RvqConfig, load_rvq
from ...runtime.bundle.tokens import Tokenizer


@dataclass(frozen=True, eq=False)
class TokenRvq:
    """An RVQ that computes tokens; ``name`` is what errors call it.

    Attributes:
        record: what the manifest says of its tokens.
        frames_per_step: mel frames that are quantized as one step; 1 for a hidden state.
        scale, shift: it quantizes scale * x + shift, of the model's own log-mel or hidden state x.
    """

    name: str
    rvq: ResidualVectorQuantize
    record: Tokenizer
    frames_per_step: int
    scale: float
    shift: float

    @property
    def needs_encoder(self) -> bool:
        """Whether it quantizes a hidden state rather than the log-mel."""
        return self.record.level is not None

    def input(self, log_mel: Tensor, states: Sequence[Tensor]) -> Tensor:
        """What the reference quantizes, (batch, width, steps) float32.

        Args:
            log_mel: the checkpoint's, (batch, mels, frames), normalised.
            states: its hidden states, each (batch, steps, width).
        """
        level = self.record.level
        x = stacked(log_mel, self.frames_per_step) if level is None else states[level].mT
        return self.scale * x + self.shift

    def check(self, checkpoint: Checkpoint, level: int) -> None:
        """Raise CheckpointError if it quantizes a hidden state deeper than the exported level."""
        own = self.record.level
        if own is not None and own > level:
            raise CheckpointError(
                f"{self.name}: quantizes level {own}, beyond the exported level {level}. Export "
                f"with --level {own} or deeper."
            )


def own_rvq(checkpoint: Checkpoint) -> TokenRvq:
    """The Mel-RVQ whose tokens the checkpoint was trained to predict.

    Raises:
        CheckpointError: it was trained on other targets.
    """
    rvq, config = getattr(checkpoint.model.model, "rvq", None), checkpoint.model.config
    if not isinstance(rvq, ResidualVectorQuantize):
        raise CheckpointError(
            f"{checkpoint.name}: has no RVQ, so it has no tokens (its config.json does not say "
            "use_rvq_target). Name one with --rvq; muqrt train rvq fits one."
        )
    shape = RvqConfig(
        width=config.n_mels * config.frames_per_step,
        mean=config.stat["melspec_2048_mean"],
        std=config.stat["melspec_2048_std"],
        stages=config.rvq_n_codebooks,
        layers=config.rvq_multi_layer_num,
    )
    return _token_rvq(checkpoint.name, rvq, shape, checkpoint)


def load_token_rvq(folder: Path, checkpoint: Checkpoint) -> TokenRvq:
    """Load an RVQ that was fitted to mels, or to a hidden state of this checkpoint.

    Raises:
        CheckpointError: not an RVQ's folder, or one of another checkpoint, width or level.
    """
    rvq, shape = load_rvq(folder)
    config = checkpoint.model.config
    if shape.level is None:
        width, what = config.n_mels * config.frames_per_step, "mel frames of a step"
    else:
        width, what = config.encoder_dim, "hidden states"
        if shape.model_sha256 != checkpoint.sha256:
            raise CheckpointError(
                f"{folder}: fitted to hidden states of another checkpoint (SHA-256 "
                f"{shape.model_sha256[:12]}...) than {checkpoint.name} "
                f"({checkpoint.sha256[:12]}...). Give this one's RVQ."
            )
        if shape.level > config.encoder_depth:
            raise CheckpointError(
                f"{folder}: quantizes level {shape.level}; {checkpoint.name} has levels 0 to "
                f"{config.encoder_depth}. Give this one's RVQ."
            )
    if shape.width != width:
        raise CheckpointError(
            f"{folder}: quantizes vectors of width {shape.width}; the {what} of {checkpoint.name} "
            f"are {width} wide. Give an RVQ that was fitted with the same --size."
        )
    return _token_rvq(str(folder), rvq, shape, checkpoint)


def _token_rvq(
    name: str, rvq: ResidualVectorQuantize, shape: RvqConfig, checkpoint: Checkpoint
) -> TokenRvq:
    config = checkpoint.model.config
    # What is quantized is of mean 0 and deviation 1 already, or as it comes from the encoder.
    mean, std = config.stat["melspec_2048_mean"], config.stat["melspec_2048_std"]
    if shape.level is not None:
        mean, std = 0.0, 1.0
    record = Tokenizer(
        stages=shape.stages,
        codes=shape.codes,
        level=shape.level,
        rvq_sha256=_digest(rvq, shape),
    )
    return TokenRvq(
        name=name,
        rvq=rvq,
        record=record,
        frames_per_step=config.frames_per_step if shape.level is None else 1,
        scale=std / shape.std,
        shift=(mean - shape.mean) / shape.std,
    )


def _digest(rvq: ResidualVectorQuantize, shape: RvqConfig) -> str:
    """One hash over every weight and what the input is normalised by, wherever they are stored."""
    digest = hashlib.sha256(json.dumps([shape.level, shape.mean, shape.std]).encode())
    for name, weight in sorted(rvq.named_parameters()):
        digest.update(name.encode() + weight.detach().cpu().numpy().tobytes())
    return digest.hexdigest()
