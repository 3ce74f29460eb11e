"""The configuration of a MuQ, field for field that of the released ``config.json``."""

import dataclasses
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import Field, FiniteFloat, PositiveFloat, PositiveInt, TypeAdapter, ValidationError

from ..common.documents import check_nesting, read_json
from ..common.validation import first_problem
from ..errors import CheckpointError

SAMPLE_RATE_HZ = 24_000
MEL_FRAMES_PER_SECOND = 100
# The mean and standard deviation, in dB, of the released model's training data.
RELEASED_STATISTICS = {
    "melspec_2048_mean": 6.768444971712967,
    "melspec_2048_std": 18.417922652295623,
}
# The fields that say how many modules there are of a kind.
COUNTS = {"encoder_depth", "rvq_n_codebooks", "rvq_multi_layer_num"}
_Config = TypeVar("_Config")
Probability = Annotated[float, Field(ge=0, le=1)]


@dataclass(frozen=True)
class ConformerConfig:
    """The fields of ``w2v2_config`` that the encoder needs; the others are kept by MuQConfig."""

    num_attention_heads: PositiveInt = 16
    intermediate_size: PositiveInt = 4096
    conv_depthwise_kernel_size: PositiveInt = 31
    num_conv_pos_embeddings: PositiveInt = 128
    num_conv_pos_embedding_groups: PositiveInt = 16
    rotary_embedding_base: PositiveInt = 10000
    layer_norm_eps: PositiveFloat = 1e-5
    hidden_dropout: Probability = 0.1
    activation_dropout: Probability = 0.1
    attention_dropout: Probability = 0.1
    conformer_conv_dropout: Probability = 0.1
    layerdrop: Probability = 0.0
    hidden_act: str = "swish"
    position_embeddings_type: str = "rotary"
    # Of the unused positional convolution; the official package fails without it.
    feat_extract_activation: str = "gelu"


@dataclass(frozen=True)
class MuQConfig:
    """Architecture and training settings of one MuQ.

    ``w2v2_config`` is kept as it was read, so that a saved checkpoint has every official field.
    """

    label_rate: PositiveInt = 25
    num_codebooks: PositiveInt = 1
    codebook_dim: PositiveInt = 16
    codebook_size: PositiveInt = 8192
    features: list[str] = field(default_factory=lambda: ["melspec_2048"])
    hop_length: int = 240
    n_mels: int = 128
    conv_dim: PositiveInt = 512
    encoder_dim: PositiveInt = 1024
    encoder_depth: PositiveInt = 12
    mask_hop: PositiveFloat = 0.4
    mask_prob: Probability = 0.6
    is_flash: bool = False
    stat: dict[str, FiniteFloat] = field(default_factory=lambda: dict(RELEASED_STATISTICS))
    w2v2_config: dict[str, Any] = field(
        default_factory=lambda: dataclasses.asdict(ConformerConfig())
    )
    use_rvq_target: bool = True
    use_vq_target: bool = False
    use_encodec_target: bool = False
    rvq_ckpt_path: str | None = None
    recon_loss_ratio: float | None = None
    resume_checkpoint: str | None = None
    rvq_n_codebooks: PositiveInt = 8
    rvq_multi_layer_num: PositiveInt = 1

    def __post_init__(self) -> None:
        conformer = self.conformer
        supported = {
            "label_rate is 25 or 50": self.label_rate in (25, 50),
            "hop_length is 240": self.hop_length == 240,
            "n_mels is 128": self.n_mels == 128,
            "features is ['melspec_2048']": self.features == ["melspec_2048"],
            "is_flash is false": not self.is_flash,
            "use_encodec_target is false": not self.use_encodec_target,
            "hidden_act is 'swish'": conformer.hidden_act in ("swish", "silu"),
            "position_embeddings_type is 'rotary'": conformer.position_embeddings_type == "rotary",
            "encoder_dim is a multiple of 2 * num_attention_heads": (
                self.encoder_dim % (2 * conformer.num_attention_heads) == 0
            ),
            "encoder_dim is a multiple of num_conv_pos_embedding_groups": (
                self.encoder_dim % conformer.num_conv_pos_embedding_groups == 0
            ),
            "conv_depthwise_kernel_size is odd": conformer.conv_depthwise_kernel_size % 2 == 1,
            "stat has melspec_2048_mean and a positive melspec_2048_std": (
                "melspec_2048_mean" in self.stat and self.stat.get("melspec_2048_std", 0) > 0
            ),
        }
        unmet = [rule for rule, holds in supported.items() if not holds]
        if unmet:
            raise CheckpointError(f"config: only models where {'; '.join(unmet)} are supported.")

    @property
    def conformer(self) -> ConformerConfig:
        """The encoder's fields, typed."""
        known = {f.name for f in dataclasses.fields(ConformerConfig)}
        return ConformerConfig(**{k: v for k, v in self.w2v2_config.items() if k in known})

    @property
    def frames_per_step(self) -> int:
        """Mel frames that become one feature step."""
        return MEL_FRAMES_PER_SECOND // self.label_rate

    @property
    def step_samples(self) -> int:
        """Waveform samples between two feature steps."""
        return self.hop_length * self.frames_per_step


def read_config(path: Path) -> MuQConfig:
    """Read a ``config.json`` of the official format.

    Raises:
        CheckpointError: not JSON, unknown fields, or a model this package does not support.
    """
    try:
        document = read_json(path)
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path}: not a readable config.json ({error}).") from None
    return config_from(document, str(path))


def config_from(document: object, where: str) -> MuQConfig:
    """Make a config from a parsed ``config.json``; ``where`` names it in errors."""
    if not isinstance(document, dict):
        raise CheckpointError(f"{where}: expected an object with MuQ's configuration.")
    unknown = sorted(set(document) - {f.name for f in dataclasses.fields(MuQConfig)})
    if unknown:
        raise CheckpointError(f"{where}: fields no MuQ has: {', '.join(unknown)}.")
    # The official class's defaults for fields the file leaves out.
    document = {"codebook_size": 4096, "use_rvq_target": False, **document}
    try:
        check_nesting(document)
        _validated(ConformerConfig, document.get("w2v2_config", {}))
        return _validated(MuQConfig, document)
    except CheckpointError as error:
        raise CheckpointError(f"{where}: {error}") from None
    except ValidationError as error:
        raise CheckpointError(f"{where}: {first_problem(error, 'w2v2_config')}.") from None
    except (TypeError, ValueError) as error:
        raise CheckpointError(f"{where}: holds what JSON cannot ({error}).") from None


def _validated(kind: type[_Config], document: object) -> _Config:
    # As JSON, because only there may a strict dataclass come from an object.
    return TypeAdapter(kind).validate_json(json.dumps(document), strict=True)
