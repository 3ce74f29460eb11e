"""What computes the outputs that a MuQ alone does not have."""

from dataclasses import dataclass

from .checkpoint import JointCheckpoint
from .head import TagHead
from .rvq import TokenRvq


@dataclass(frozen=True, eq=False)
class Sources:
    """The modules on top of a MuQ; None for those that a model lacks.

    Attributes:
        head: computes the output ``tags``.
        rvq: computes the output ``tokens``.
        joint: computes the output ``latents``.
    """

    head: TagHead | None = None
    rvq: TokenRvq | None = None
    joint: JointCheckpoint | None = None


NO_SOURCES = Sources()
