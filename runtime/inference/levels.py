"""Features from other hidden states than a bundle's own."""

from collections.abc import Mapping, Sequence

import numpy as np

from ...errors import BundleError, UsageError
from ..bundle.parts import FRAMES
from ..engines.session import WAVEFORM, Arrays, Description, Levels, Parts, Session

# A hidden state's official number, from 0, the front end's output; or several.
Level = int | Sequence[int]
_FEATURES = "features"


class LevelSession(Session):
    """A session's model with the hidden states at some levels as its features.

    They are (batch, steps, width) for one level, and (batch, steps, levels, width) for several,
    computed once from each other. The session below is not closed with this one.

    Args:
        session: the model's.
        level: a level or several, as the official package numbers them.

    Raises:
        BundleError: the bundle was exported without levels. UsageError: it has no such level.
    """

    def __init__(self, session: Session, level: Level) -> None:
        if session.levels is None or session.parts is None:
            raise BundleError(
                "this model gives the level that it was exported with, and no other. Export it "
                "again: muqrt export CHECKPOINT --levels -o BUNDLE."
            )
        self._several = not isinstance(level, int)
        self._levels = _checked(level, session.levels)
        (spec,) = session.levels.part.outputs.values()
        batch, steps, width = spec.shape
        levels = [len(self._levels)] if self._several else []
        features = spec.model_copy(update={"shape": [batch, steps, *levels, width]})
        named = ",".join(map(str, self._levels))
        super().__init__(
            Description(
                [*session.inputs.values()],
                [features],
                session.framing,
                f"{session.artefact_sha256}, level {named}",
                checkpoint=session.checkpoint,
            )
        )
        self._layers = session.levels
        self.frames = session.levels.part.inputs[FRAMES]
        self._front_end = session.parts.front_end
        self.parts = Parts(self._front_end, _Encoder(self))

    def of_frames(self, frames: np.ndarray) -> np.ndarray:
        """The features of the front end's frames (batch, steps, width)."""
        states, x, reached = {}, frames, 0
        for level in sorted(set(self._levels)):
            states[level] = x = self._layers.run(x, reached, level)
            reached = level
        if not self._several:
            return x
        return np.stack([states[level] for level in self._levels], axis=2)

    def _run(self, inputs: Mapping[str, np.ndarray], outputs: list[str]) -> Arrays:
        frames = self._front_end.run({WAVEFORM: inputs[WAVEFORM]}, [FRAMES])[FRAMES]
        return {_FEATURES: self.of_frames(frames)}

    def close(self) -> None:
        """Nothing is its own."""


class _Encoder(Session):
    """The part of a ``LevelSession`` above the frames."""

    def __init__(self, whole: LevelSession) -> None:
        super().__init__(Description([whole.frames], [*whole.outputs.values()], whole.framing))
        self._whole = whole

    def _run(self, inputs: Mapping[str, np.ndarray], outputs: list[str]) -> Arrays:
        return {_FEATURES: self._whole.of_frames(inputs[FRAMES])}

    def close(self) -> None:
        """Nothing is its own."""


def parsed_level(text: str | None) -> Level | None:
    """A level from a command line: 6, or several: 9-12 or 3,6.

    Raises:
        UsageError: none of these.
    """
    if text is None:
        return None
    found: list[int] = []
    try:
        for part in text.split(","):
            first, dash, last = part.partition("-")
            found += range(int(first), int(last) + 1) if dash else [int(first)]
    except ValueError:
        found = []
    if not found:
        raise UsageError(f"--level {text!r}: give a level such as 6, or several: 9-12 or 3,6.")
    return found[0] if text.isdigit() else found


def _checked(level: Level, levels: Levels) -> list[int]:
    chosen = [level] if isinstance(level, int) else list(level)
    whole = all(isinstance(each, int) and not isinstance(each, bool) for each in chosen)
    if not chosen or not whole or not all(0 <= each <= levels.deepest for each in chosen):
        raise UsageError(f"level {level!r}: this model has levels 0 to {levels.deepest}.")
    return chosen
