"""The official package's configurations."""

from dataclasses import dataclass, field
from typing import Any

from ..reference import config
from ..reference.mulan.config import MuLanConfig as MuQMuLanConfig
from ..runtime.bundle.manifest import Bundle

__all__ = ["MuQConfig", "MuQMuLanConfig", "config_of"]


@dataclass(frozen=True)
class MuQConfig(config.MuQConfig):
    """A MuQ's configuration with the official class's defaults, and without ``stat`` those of the
    released model."""

    codebook_size: int = 4096
    use_rvq_target: bool = False
    w2v2_config: dict[str, Any] = field(default_factory=dict)


def config_of(bundle: Bundle) -> MuQConfig:
    """What a bundle knows of its model's configuration."""
    facts = bundle.architecture
    return MuQConfig(
        label_rate=facts["label_rate"],
        conv_dim=facts["conv_dim"],
        encoder_dim=facts["encoder_dim"],
        encoder_depth=facts["encoder_depth"],
        stat={name: facts[name] for name in config.RELEASED_STATISTICS},
        w2v2_config={name: facts[name] for name in ("num_attention_heads", "intermediate_size")},
    )
