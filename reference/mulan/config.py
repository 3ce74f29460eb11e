"""The configuration of a MuQ-MuLan, field for field that of the released ``config.json``.

A field on whose default the official classes do not agree among themselves has none here.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ConfigDict, NonNegativeInt, PositiveInt, TypeAdapter, ValidationError

from ...common.documents import read_json
from ...common.validation import first_problem
from ...errors import CheckpointError
from ..config import SAMPLE_RATE_HZ, Probability

# The fields that say how many modules there are of a kind, a MuQ's not among them.
COUNTS = {"tf_depth", "num_hidden_layers"}
_LONGEST_CLIP_SECONDS = 600
_Config = TypeVar("_Config")


@dataclass(frozen=True)
class JointConfig:
    """The section ``mulan``: the joint space, the clips it is for, and the loss it was trained by.

    Attributes:
        sr: of the waveforms, in Hz.
        clip_secs: a longer track is cut in clips of so many seconds.
        dim_latent: width of an embedding.
    """

    dim_latent: PositiveInt
    sr: PositiveInt = SAMPLE_RATE_HZ
    clip_secs: PositiveInt = 10
    decoupled_contrastive_learning: bool = True
    hierarchical_contrastive_loss: bool = False
    hierarchical_contrastive_loss_layers: Any = None
    sigmoid_contrastive_loss: bool = False
    rank_contrast: bool = True


@dataclass(frozen=True)
class EncoderConfig:
    """The pretrained model below a tower.

    Attributes:
        name: its hub id or folder, which has its own ``config.json``.
        model_dim: its width; none where the tower above is as wide, and nothing lies between.
        use_layer_idx: which of a MuQ's hidden states; a text encoder's is always the last.
    """

    name: str
    model_dim: PositiveInt | None = None
    use_layer_idx: int = -1


@dataclass(frozen=True)
class TransformerConfig:
    """The small transformer of a tower."""

    __pydantic_config__ = ConfigDict(extra="forbid")

    dim: PositiveInt
    tf_depth: NonNegativeInt
    heads: PositiveInt = 8
    dim_head: PositiveInt = 64
    attn_dropout: Probability = 0.0
    ff_dropout: Probability = 0.0
    ff_mult: PositiveInt = 4

    @property
    def ff_dim(self) -> int:
        """Width inside a feed-forward: two thirds, because the gate takes as much again."""
        return int(self.dim * self.ff_mult * 2 / 3)


@dataclass(frozen=True)
class TextTransformerConfig(TransformerConfig):
    """``max_seq_len`` is unused, and kept for its place in ``config.json``."""

    max_seq_len: PositiveInt = 1024


@dataclass(frozen=True)
class MuLanConfig:
    """Both towers and what joins them; those of the two encoders are files of their own."""

    mulan: JointConfig
    audio_model: EncoderConfig
    text_model: EncoderConfig
    audio_transformer: TransformerConfig
    text_transformer: TextTransformerConfig

    def __post_init__(self) -> None:
        supported = {
            f"sr is {SAMPLE_RATE_HZ}": self.mulan.sr == SAMPLE_RATE_HZ,
            "hierarchical_contrastive_loss is false": not self.mulan.hierarchical_contrastive_loss,
            "sigmoid_contrastive_loss is false": not self.mulan.sigmoid_contrastive_loss,
            f"clip_secs is at most {_LONGEST_CLIP_SECONDS}": (
                self.mulan.clip_secs <= _LONGEST_CLIP_SECONDS
            ),
            "audio_model.model_dim is given": self.audio_model.model_dim is not None,
        }
        unmet = [rule for rule, holds in supported.items() if not holds]
        if unmet:
            raise CheckpointError(f"config: only models where {'; '.join(unmet)} are supported.")

    @property
    def clip_samples(self) -> int:
        """Length of a clip."""
        return self.mulan.sr * self.mulan.clip_secs


def read_config_as(kind: type[_Config], path: Path) -> _Config:
    """Read a ``config.json`` as the dataclass ``kind``.

    Raises:
        CheckpointError: not JSON, a field that is missing or of a wrong type, or a model this
            package does not support.
    """
    try:
        document = json.dumps(read_json(path))
        return TypeAdapter(kind).validate_json(document, strict=True)
    except ValidationError as error:  # is a ValueError
        raise CheckpointError(f"{path}: {first_problem(error)}.") from None
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path}: not a readable {path.name} ({error}).") from None
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from None
