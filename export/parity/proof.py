"""The reference and the music that artefacts are compared on."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ...reference.checkpoint import Checkpoint
from ...runtime.bundle.manifest import Bundle
from ..outputs import registry
from ..sources.checkpoint import JointCheckpoint, require_source
from ..sources.head import TagHead
from ..sources.rvq import TokenRvq
from ..sources.sources import Sources
from .excerpt import Excerpt

OnStep = Callable[[str], None]


@dataclass(frozen=True, eq=False)
class Proof:
    """The reference that a bundle's artefacts are compared with, and the music to compare on.

    Attributes:
        checkpoint: what the bundle is made from.
        head: what its ``tags`` are computed by; None for a bundle without tags.
        rvq: what its ``tokens`` are computed by; None for a bundle without tokens.
        music: what to compare on. Without any, artefacts are added uncertified, and then nothing
            loads them without being told to.
        on_step: called after each step with what was done.
    """

    checkpoint: Checkpoint
    head: TagHead | None = None
    rvq: TokenRvq | None = None
    music: Sequence[Excerpt] = ()
    on_step: OnStep = lambda what: None

    @property
    def sources(self) -> Sources:
        """What computes the outputs that a MuQ alone does not have."""
        checkpoint = self.checkpoint
        joint = checkpoint if isinstance(checkpoint, JointCheckpoint) else None
        return Sources(self.head, self.rvq, joint)

    def require(self, bundle: Bundle) -> None:
        """Raise CheckpointError unless the bundle was made from this checkpoint, head and RVQ."""
        require_source(bundle, self.checkpoint)
        for output in registry.OUTPUTS:
            output.require(bundle, self.sources)
