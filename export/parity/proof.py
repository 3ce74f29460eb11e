"""The reference and the music that artefacts are compared on."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from ...errors import UsageError
from ...reference.checkpoint import Checkpoint
from ...runtime.bundle.manifest import Bundle
from ...runtime.bundle.mix import Mix
from ..outputs import registry
from ..outputs.output import Reference
from ..sources.checkpoint import JointCheckpoint, require_source
from ..sources.head import TagHead
from ..sources.mix import LevelMix
from ..sources.rvq import TokenRvq
from ..sources.score_head import ScoreHead
from ..sources.sources import Sources
from .excerpt import Excerpt

OnStep = Callable[[str], None]


@dataclass(frozen=True, eq=False)
class Proof:
    """The reference that a bundle's artefacts are compared with, and the music to compare on.

    Attributes:
        given: the checkpoint that the bundle is made from. Without it artefacts are compared with
            the answers that the bundle has stored, and can only be made from what it holds.
        head: what its ``tags``, or ``scores``, are computed by; None for a bundle without either.
        rvq: what its ``tokens`` are computed by; None for a bundle without tokens.
        music: what to compare on. Without any, artefacts are added uncertified, and then nothing
            loads them without being told to.
        on_step: called after each step with what was done.
        mix: what its ``mix`` is, of a bundle that is yet to be made; others have their own.
    """

    given: Checkpoint | None
    head: TagHead | ScoreHead | None = None
    rvq: TokenRvq | None = None
    music: Sequence[Excerpt] = ()
    on_step: OnStep = lambda what: None
    mix: LevelMix | None = None
    _references: dict[tuple[int, bytes], Reference] = field(
        default_factory=dict, init=False, repr=False
    )

    @property
    def checkpoint(self) -> Checkpoint:
        """What the bundle is made from.

        Raises:
            UsageError: it was not given.
        """
        if self.given is None:
            raise UsageError(
                "this needs what the bundle was made from: name it with --checkpoint CHECKPOINT."
            )
        return self.given

    @property
    def sources(self) -> Sources:
        """What computes the outputs that a MuQ alone does not have."""
        checkpoint = self.given
        joint = checkpoint if isinstance(checkpoint, JointCheckpoint) else None
        return Sources(self.head, self.rvq, joint, self.mix)

    def of(self, bundle: Bundle) -> "Proof":
        """The same with the bundle's own mix of levels, which it describes itself."""
        mix = bundle.meaning(Mix)
        if mix == (None if self.mix is None else self.mix.record):
            return self
        return replace(self, mix=None if mix is None else LevelMix(str(bundle.folder), mix))

    def reference(self, waveform: np.ndarray) -> Reference:
        """The reference's answers to a waveform (batch, samples) float32.

        They are computed once and kept: a search proves one artefact after the other on the same
        music.
        """
        key = len(waveform), hashlib.sha256(waveform.tobytes()).digest()
        if key not in self._references:
            self._references[key] = Reference(self.checkpoint, self.sources, waveform)
        return self._references[key]

    def require(self, bundle: Bundle) -> None:
        """Raise CheckpointError unless the bundle was made from this checkpoint, head and RVQ."""
        require_source(bundle, self.checkpoint)
        for output in registry.OUTPUTS:
            output.require(bundle, self.sources)
