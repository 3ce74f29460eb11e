"""One interface for every engine: named numpy arrays in, named numpy arrays out."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import NamedTuple, NoReturn, Protocol, TypeVar

import numpy as np

from ...common.closing import Closing
from ...errors import BundleError, SessionError
from ..bundle.joint import MASK
from ..bundle.manifest import Artefact, Bundle, Framing
from ..bundle.meanings import Explained
from ..bundle.output import Output
from ..bundle.parts import (
    ATTENTION_BIAS,
    FIRST,
    FRAMES,
    LAST,
    encoder_outputs,
    frames_spec,
    levels_inputs,
)
from ..bundle.record import TensorSpec

WAVEFORM = "waveform"  # the input's name

Arrays = dict[str, np.ndarray]
_Output = TypeVar("_Output", bound=Output)


@dataclass(frozen=True)
class Description(Explained):
    """What a session states about its model.

    Attributes:
        inputs: what ``run`` takes.
        outputs: what ``run`` can return.
        framing: how audio is cut for this model.
        artefact_sha256: which artefact it is, as its certificate says.
        meanings: what outputs mean, by their names, where they are explained.
        checkpoint: the name of what the model was exported from; empty where it is not known.
    """

    inputs: Sequence[TensorSpec]
    outputs: Sequence[TensorSpec]
    framing: Framing
    artefact_sha256: str = ""
    meanings: Mapping[str, Output] = field(default_factory=dict)
    checkpoint: str = ""

    @classmethod
    def of(cls, bundle: Bundle, artefact: Artefact) -> "Description":
        """The description of a bundle's artefact."""
        return cls(
            artefact.inputs,
            artefact.outputs,
            bundle.framing,
            artefact.digest,
            bundle.meanings,
            bundle.source.checkpoint,
        )


class Session(Closing, Explained):
    """A loaded artefact, ready to run. A context manager; ``close`` frees the engine.

    Its attributes are those of ``Description``, inputs and outputs by their names, and, where the
    artefact has them, ``parts``: the same model in two; ``text_parts``: the same of a text tower;
    and ``levels``: its layers one after another. ``runs_at_once`` says how many threads should
    call ``run`` at the same time to use the processor well; ``provenance`` how its numbers come
    about where that is not by the artefact's engine.
    """

    runs_at_once: int = 1
    provenance: Mapping[str, str] = MappingProxyType({})

    parts: "Parts | None" = None
    text_parts: "TextParts | None" = None
    levels: "Levels | None" = None

    def __init__(self, described: Description) -> None:
        self.inputs = {spec.name: spec for spec in described.inputs}
        self.outputs = {spec.name: spec for spec in described.outputs}
        self.framing = described.framing
        self.artefact_sha256 = described.artefact_sha256
        self.meanings = described.meanings
        self.checkpoint = described.checkpoint

    def __reduce__(self) -> NoReturn:
        """Raise TypeError: an engine belongs to its process."""
        raise TypeError(
            f"a {type(self).__name__} cannot be pickled: open one in each process, with "
            "muqrt.open_bundle."
        )

    def run(self, inputs: Mapping[str, np.ndarray], outputs: Sequence[str] | None = None) -> Arrays:
        """Run the engine on checked inputs.

        Args:
            inputs: one array per input, with the dtypes and shapes of ``self.inputs``.
            outputs: which outputs to compute; all of them when left out.

        Raises:
            SessionError: a name, dtype or shape is wrong; the message names it.
        """
        wanted = list(self.outputs) if outputs is None else list(outputs)
        self._check(inputs, wanted)
        return self._run(inputs, wanted)

    @abstractmethod
    def _run(self, inputs: Mapping[str, np.ndarray], outputs: list[str]) -> Arrays:
        """Run the engine; the arguments are already checked."""

    def _split(self, front_end: "Engine", encoder: "Engine") -> "Parts":
        """The same model in two parts, run by these engines."""
        # Every artefact that has parts gives features, which are as wide as frames.
        frames = [frames_spec(int(self.outputs["features"].shape[-1]))]
        outputs = encoder_outputs([*self.outputs.values()], self.meanings)
        return Parts(
            Part(front_end, [*self.inputs.values()], frames, self.framing),
            Part(encoder, frames, outputs, self.framing),
        )

    def _by_levels(self, engine: "Engine", deepest: int) -> "Levels":
        """The model's layers up to the deepest level, run by this engine."""
        features = self.outputs["features"]
        inputs = levels_inputs(int(features.shape[-1]))
        return Levels(Part(engine, inputs, [features], self.framing), deepest)

    def _check(self, inputs: Mapping[str, np.ndarray], outputs: list[str]) -> None:
        unknown = [name for name in outputs if name not in self.outputs]
        if unknown or not outputs:
            raise SessionError(f"no output {unknown}; this model has: {', '.join(self.outputs)}.")
        if set(inputs) != set(self.inputs):
            raise SessionError(f"inputs are {sorted(inputs)}; expected {sorted(self.inputs)}.")
        sizes: dict[str, int] = {}
        for name, spec in self.inputs.items():
            _check_tensor(inputs[name], spec, sizes)
        samples = sizes.get("samples", self.framing.minimum_samples)
        if samples < self.framing.minimum_samples:
            raise SessionError(
                f"waveform has {samples} samples; the STFT needs at least "
                f"{self.framing.minimum_samples} at {self.framing.sample_rate_hz} Hz."
            )
        if self.joint is not None and MASK.name in self.inputs:
            self.joint.check_texts(inputs)


def require_output(session: Session, kind: type[_Output]) -> _Output:
    """The record that explains the session's output of this kind.

    Raises:
        BundleError: the model has none; the message says how to get it.
    """
    meaning = session.meaning(kind)
    if meaning is None or kind.output not in session.outputs:
        raise BundleError(kind.how_to_get)
    return meaning


def check_finite(numbers: np.ndarray, what: str, track: str = "") -> None:
    """Raise SessionError unless all of an engine's numbers are finite.

    Args:
        numbers: an output, or a part of it.
        what: what they are, for the message.
        track: what they were computed for.
    """
    if not np.isfinite(numbers).all():
        raise SessionError(
            f"{track}{': ' if track else ''}the engine gave NaN or infinite {what}. Use the fp32 "
            "artefact, or run muqrt parity on this one."
        )


class Engine(Protocol):
    """Something that runs an artefact's graphs."""

    def run(self, inputs: Mapping[str, np.ndarray], outputs: list[str]) -> Arrays:
        """Run them on checked inputs."""

    def close(self) -> None:
        """Free the graphs."""


class Part(Session):
    """One of an artefact's parts."""

    def __init__(
        self,
        engine: Engine,
        inputs: Sequence[TensorSpec],
        outputs: Sequence[TensorSpec],
        framing: Framing,
    ) -> None:
        super().__init__(Description(inputs, outputs, framing))
        self._engine = engine

    def _run(self, inputs: Mapping[str, np.ndarray], outputs: list[str]) -> Arrays:
        return self._engine.run(inputs, outputs)

    def close(self) -> None:
        """Free its graphs."""
        self._engine.close()


class Parts(NamedTuple):
    """A model in two: waveform to frames, and frames to outputs (see ``parts.py``). They are closed
    with the session they belong to."""

    front_end: Session
    encoder: Session


class TextParts(NamedTuple):
    """A text tower in two: tokens to states, and states to latents; each with a mask of its own.
    They are closed with the session they belong to."""

    encoder: Session
    transformer: Session


class Levels:
    """The layers of a model, run from one hidden state to a deeper one.

    Level 0 is the front end's output; the model's deepest is normalised. The part that runs them is
    closed with the session that it belongs to.

    Args:
        part: a session with the inputs of ``levels_inputs``.
        deepest: the last level.
    """

    def __init__(self, part: Session, deepest: int) -> None:
        self.part, self.deepest = part, deepest

    def run(
        self, x: np.ndarray, first: int, last: int, bias: np.ndarray | None = None
    ) -> np.ndarray:
        """The hidden state at level ``last``, float32 (batch, steps, width).

        Args:
            x: the one at level ``first``, of the same shape.
            first, last: ``first`` is no deeper than ``last``.
            bias: (batch, 1, 1, steps) float32, added to the attention's scores for each step that
                is attended to: 0, or far below it for a step that must not be.

        Raises:
            SessionError: there are no such levels, or the engine failed.
        """
        if not 0 <= first <= last <= self.deepest:
            raise SessionError(f"levels {first} to {last}: this model has 0 to {self.deepest}.")
        if first == last:
            return x
        if bias is None:
            bias = np.zeros((len(x), 1, 1, x.shape[1]), np.float32)
        inputs = {
            FRAMES: x,
            ATTENTION_BIAS.name: bias,
            FIRST.name: np.array(first, np.int64),
            LAST.name: np.array(last, np.int64),
        }
        return self.part.run(inputs, ["features"])["features"]


def _check_tensor(array: np.ndarray, spec: TensorSpec, sizes: dict[str, int]) -> None:
    if array.dtype != np.dtype(spec.dtype):
        raise SessionError(f"{spec.name} is {array.dtype}; expected {spec.dtype}.")
    if array.ndim != len(spec.shape):
        raise SessionError(f"{spec.name} has shape {array.shape}; expected {spec.shape}.")
    for size, expected in zip(array.shape, spec.shape, strict=True):
        if isinstance(expected, str):
            expected = sizes.setdefault(expected, size)
        if size != expected or size == 0:
            raise SessionError(f"{spec.name} has shape {array.shape}; expected {spec.shape}.")
