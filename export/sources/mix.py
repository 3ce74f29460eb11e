"""A mix of levels: a plain average, or weights that were learned elsewhere, from a file."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydantic import ValidationError

from ...common.validation import first_problem
from ...errors import CheckpointError, UsageError
from ...reference.checkpoint import Checkpoint
from ...runtime.bundle.mix import Mix, Weight
from ...runtime.bundle.record import Record
from ...runtime.inference.levels import parsed_levels
from .described import SUFFIXES, described


class _MixFile(Record):
    """What a file says: the levels, one weight for each, and whether these go through a softmax."""

    levels: list[int]
    weights: list[Weight]
    softmax: bool = False


@dataclass(frozen=True, eq=False)
class LevelMix:
    """A mix of levels; ``name`` is what errors call it.

    Attributes:
        record: what the manifest says of it.
    """

    name: str
    record: Mix

    def expected(self, states: Sequence[np.ndarray]) -> np.ndarray:
        """The mix (batch, steps, width) float32 of hidden states, each of that shape, from level
        0."""
        levels, weights = self.record.levels, self.record.weights
        chosen = np.stack([states[level].astype(np.float64) for level in levels])
        return np.tensordot(weights, chosen, axes=1).astype(np.float32)

    def check(self, checkpoint: Checkpoint, level: int) -> None:
        """Raise CheckpointError if a level is deeper than the exported one."""
        deepest, depth = max(self.record.levels), checkpoint.model.config.encoder_depth
        reads = f"--mix {self.name}: mixes level {deepest}"
        if deepest > depth:
            raise CheckpointError(f"{reads}; {checkpoint.name} has levels 0 to {depth}.")
        if deepest > level:
            raise CheckpointError(
                f"{reads}, beyond the exported level {level}. Export with --level {deepest} or "
                "deeper."
            )


def level_mix(text: str, checkpoint: Checkpoint) -> LevelMix:
    """A mix of a checkpoint's levels.

    Args:
        text: levels to average, 9-12 or 6,9-12; or a JSON or TOML file with ``levels``, ``weights``
            and ``softmax``.
        checkpoint: whose.

    Raises:
        UsageError: neither, or no mix, such as one level twice. CheckpointError: another file.
    """
    path = Path(text)
    if path.suffix in SUFFIXES:
        found = described(path, _MixFile)
        levels = found.levels
        weights = softmax(found.weights) if found.softmax else found.weights
    else:
        levels = parsed_levels(text, "--mix")
        weights = [1 / len(levels)] * len(levels)
    try:
        width = checkpoint.model.config.encoder_dim
        return LevelMix(text, Mix(width=width, levels=levels, weights=weights))
    except ValidationError as error:
        raise UsageError(f"--mix {text}: {first_problem(error)}.") from None


def softmax(weights: Sequence[float]) -> list[float]:
    """Positive weights whose sum is 1."""
    powers = np.exp(np.asarray(weights, np.float64) - max(weights, default=0.0))
    found: list[float] = (powers / powers.sum()).tolist()
    return found
