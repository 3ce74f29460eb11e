"""Features from other hidden states than a bundle's own."""

import operator
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np

from ...errors import BundleError, UsageError
from ..bundle.mix import MIX
from ..bundle.parts import FRAMES
from ..engines.session import WAVEFORM, Arrays, Description, Levels, Parts, Session
from .mix import MixSession

# A hidden state's official number, from 0, the front end's output; or several; or the bundle's mix.
Level = int | Sequence[int] | Literal["mix"]
_FEATURES = "features"
_DEEPEST = 9_999  # of any model's levels; a range in text is written out in memory


def at_level(session: Session, level: Level) -> Session:
    """A session's model with other features; the session below is not closed with it.

    Args:
        session: the model's.
        level: a level or several, as the official package numbers them, or "mix".

    Raises:
        BundleError: the bundle was exported without levels, or without a mix. UsageError: it has no
            such level.
    """
    is_mix = isinstance(level, str) and level == MIX  # an array is compared item by item
    return MixSession.of(session) if is_mix else LevelSession(session, level)


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
                "this artefact gives the level that it was exported with, and no other. ONNX and "
                "PyTorch artefacts give all, of a bundle that was exported with --levels: muqrt "
                "export CHECKPOINT --levels -o BUNDLE."
            )
        self._levels, self._several = _checked(level, session.levels)
        (spec,) = session.levels.part.outputs.values()
        batch, steps, width = spec.shape
        levels = [len(self._levels)] if self._several else []
        features = spec.model_copy(update={"shape": [batch, steps, *levels, width]})
        # One level in a list has another shape than by itself.
        named = ("levels " if self._several else "level ") + ",".join(map(str, self._levels))
        super().__init__(
            Description(
                [*session.inputs.values()],
                [features],
                session.framing,
                f"{session.artefact_sha256}, {named}",
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
    """A level from a command line: 6, or several: 9-12 or 3,6; or mix.

    Raises:
        UsageError: none of these.
    """
    if text is None or text == MIX:
        return text
    found = parsed_levels(text, "--level")
    return found if "," in text or "-" in text else found[0]


def parsed_levels(text: str, option: str) -> list[int]:
    """Levels from a command line: 6, 9-12 or 3,6.

    Raises:
        UsageError: none of these; it names the option.
    """
    found: list[int] = []
    try:
        for part in text.split(","):
            first, dash, last = part.partition("-")
            bounds = int(first), int(last if dash else first)
            if max(bounds) > _DEEPEST:
                raise UsageError(f"{option} {text}: no model has a level {max(bounds)}.")
            found += range(bounds[0], bounds[1] + 1)
    except ValueError:
        found = []
    if not found:
        raise UsageError(f"{option} {text!r}: give a level such as 6, or several: 9-12 or 3,6.")
    return found


def _checked(level: Level, levels: Levels) -> tuple[list[int], bool]:
    """The levels that were asked for, and whether they were asked for as several.

    Raises:
        UsageError: there are no such levels.
    """
    several = False
    try:
        try:
            chosen = [_number(level)]
        except TypeError:
            chosen, several = [_number(each) for each in level], True  # type: ignore[union-attr]
    except TypeError:
        chosen = []
    if not chosen or not all(0 <= each <= levels.deepest for each in chosen):
        raise UsageError(f"level {level!r}: this model has levels 0 to {levels.deepest}.")
    return chosen, several


def _number(value: Any) -> int:
    """A whole number of any type, such as numpy's; TypeError for what is none."""
    if isinstance(value, bool):
        raise TypeError("a truth value is no level")
    return operator.index(value)
