"""What computes the outputs that a MuQ alone does not have."""

from dataclasses import dataclass

from ...reference.mulan.model import MuLan
from ...runtime.bundle.joint import Joint
from .head import TagHead
from .rvq import TokenRvq


@dataclass(frozen=True, eq=False)
class Sources:
    """The modules on top of a MuQ; None for those that a model lacks.

    Attributes:
        head: computes the output ``tags``.
        rvq: computes the output ``tokens``.
        mulan: computes the output ``latents``.
        joint: what the bundle says of the latents.
    """

    head: TagHead | None = None
    rvq: TokenRvq | None = None
    mulan: MuLan | None = None
    joint: Joint | None = None


NO_SOURCES = Sources()
