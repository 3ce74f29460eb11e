"""A fitted RVQ on disk: of mels, or of a latent level of a trained MuQ."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from pydantic import ConfigDict, Field, FiniteFloat, PositiveFloat, PositiveInt

from .muq import RVQ_CODE_WIDTH, RVQ_CODES
from .rvq import ResidualVectorQuantize
from .stored import load_module, save_module

_NAME = "rvq"  # of its files


@dataclass(frozen=True)
class RvqConfig:
    """What an RVQ was fitted to.

    Attributes:
        width: of what it quantizes: mels times stacked frames, or a hidden state's.
        mean, std: its input is normalised by these; in dB for a mel.
        level: the hidden state it quantizes; none for the mel.
        model_sha256: of the checkpoint the level is of.
        figures: what was measured when it was fitted.
    """

    __pydantic_config__ = ConfigDict(extra="forbid")

    width: PositiveInt
    mean: FiniteFloat
    std: PositiveFloat
    stages: PositiveInt = 8
    codes: PositiveInt = RVQ_CODES
    code_width: PositiveInt = RVQ_CODE_WIDTH
    layers: PositiveInt = 1
    level: Annotated[int, Field(ge=0)] | None = None
    model_sha256: str = ""
    figures: dict[str, Any] = field(default_factory=dict)

    def build(self) -> ResidualVectorQuantize:
        """An RVQ of this shape with torch's initial weights."""
        return ResidualVectorQuantize(
            self.width, self.stages, self.codes, self.code_width, self.layers
        )


def save_rvq(rvq: ResidualVectorQuantize, config: RvqConfig, folder: Path) -> None:
    """Write ``rvq.json`` and ``rvq.safetensors``, whose names are those of the official file."""
    save_module(rvq, config, folder, _NAME)


def load_rvq(folder: Path) -> tuple[ResidualVectorQuantize, RvqConfig]:
    """Load a fitted RVQ in eval mode.

    Raises:
        CheckpointError: not an RVQ's folder, or weights that are not those of its configuration.
    """
    return load_module(folder, _NAME, RvqConfig, RvqConfig.build, {"stages", "layers"})
