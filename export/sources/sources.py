"""What computes the outputs that a MuQ alone does not have."""

from dataclasses import dataclass

from .checkpoint import JointCheckpoint
from .head import TagHead
from .mix import LevelMix
from .rvq import TokenRvq
from .score_head import ScoreHead


@dataclass(frozen=True, eq=False)
class Sources:
    """The modules on top of a MuQ; None for those that a model lacks.

    Attributes:
        head: computes the output ``tags``, or ``scores``.
        rvq: computes the output ``tokens``.
        joint: computes the output ``latents``.
        mix: computes the output ``mix``.
    """

    head: TagHead | ScoreHead | None = None
    rvq: TokenRvq | None = None
    joint: JointCheckpoint | None = None
    mix: LevelMix | None = None


NO_SOURCES = Sources()
