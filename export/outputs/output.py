"""An output of exported models: how it is written, and how it is compared with the reference."""

from abc import abstractmethod
from collections.abc import Callable, Collection, Hashable, Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Generic, Protocol, TypeVar

import numpy as np
import torch
from onnx import FunctionProto
from torch import Tensor

from ...errors import CheckpointError
from ...reference.checkpoint import Checkpoint
from ...reference.muq import MuQ
from ...runtime.bundle.certificate import AnyMeasurement, Thresholds
from ...runtime.bundle.manifest import Bundle
from ...runtime.bundle.output import Output as Meaning
from ...runtime.bundle.record import TensorSpec
from ...runtime.parity.measuring import measure
from ...runtime.parity.stored import EXPECTED
from ..graph.writer import Graph
from ..sources.sources import Sources


class Output(Protocol):
    """One output, by its name in graphs, manifests and certificates.

    The methods with a body are right for an output of real numbers that every MuQ has and that the
    cosine and the relative L2 judge.
    """

    name: ClassVar[str]

    @abstractmethod
    def spec(self, model: MuQ, level: int, sources: Sources) -> TensorSpec | None:
        """Dtype and shape of the output of a graph up to ``level``; None where it has none."""

    @abstractmethod
    def write(self, graph: Graph, sources: Sources, log_mel: str, states: Sequence[str]) -> str:
        """Write what computes it; returns the value.

        Args:
            graph: what to write to.
            sources: the modules on top of the model.
            log_mel: (batch, mels, frames).
            states: the hidden states (batch, steps, width), from level 0 to the exported one.
        """

    @abstractmethod
    def expected(self, reference: "Reference", level: int) -> np.ndarray:
        """What the reference answers for its waveform, from a model up to ``level``."""

    def record(self, sources: Sources) -> Meaning | None:
        """Return its record in the manifest; None for an output without one. Outputs with a
        record are exported without being asked for."""
        return None

    def check(self, checkpoint: Checkpoint, level: int, sources: Sources) -> None:
        """Raise CheckpointError unless its source fits the checkpoint's graph up to ``level``."""
        return None

    def require(self, bundle: Bundle, sources: Sources) -> None:
        """Raise CheckpointError unless its source is the one that the bundle was made from."""
        return None

    def needs_encoder(self, sources: Sources) -> bool:
        """Whether it is computed from hidden states."""
        return True

    def functions(self, sources: Sources) -> list[FunctionProto]:
        """The ONNX functions that what ``write`` writes calls."""
        return []

    def requests(self, outputs: Collection[str]) -> dict[str, list[str]]:
        """Further ways to ask an artefact with these outputs, which may run another graph: the
        outputs to ask for, by what the way is called."""
        return {}

    def measurements(
        self, reference: "Reference", answer: "Answer", ours: np.ndarray
    ) -> Iterator[AnyMeasurement]:
        """Compare an artefact's answer, ``ours``, with the reference's."""
        expected = reference.expected(self, answer.level)
        yield measure(answer.audio, answer.seconds, self.name, ours, expected)

    def stored(self, reference: "Reference", level: int) -> dict[str, np.ndarray]:
        """What a bundle keeps of the reference's answer, for comparisons without it."""
        return {EXPECTED: reference.expected(self, level)}

    def stored_source(self, sources: Sources) -> dict[str, np.ndarray]:
        """What those comparisons need besides, the same for every waveform."""
        return {}

    def figures(self, worst: Thresholds) -> str:
        """A certificate's worst figures for it, in words."""
        return (
            f"worst frame cosine {worst.worst_frame_cosine:.7f}, "
            f"relative L2 {worst.relative_l2:.2e}"
        )


class Source(Protocol):
    """What computes an output with a record in the manifest."""

    @property
    def name(self) -> str:
        """What errors call it."""

    @property
    def record(self) -> Meaning:
        """What the manifest says of the output."""

    def check(self, checkpoint: Checkpoint, level: int) -> None:
        """Raise CheckpointError unless it fits the checkpoint's graph up to ``level``."""


S = TypeVar("S", bound=Source)
T = TypeVar("T")


class SourcedOutput(Output, Generic[S]):
    """An output that only models with its source have.

    Attributes:
        source_name: what the source is called in errors and, in small letters, among the options.
        hashed: the record's field with the source's SHA-256; None where the checkpoint's covers it.
    """

    source_name: ClassVar[str]
    hashed: ClassVar[str | None] = None

    @abstractmethod
    def found(self, sources: Sources) -> S | None:
        """The source; None where there is none."""

    def source(self, sources: Sources) -> S:
        """The source of a model that has the output."""
        source = self.found(sources)
        assert source is not None  # or there would be no such output
        return source

    def spec(self, model: MuQ, level: int, sources: Sources) -> TensorSpec | None:
        """What the record says."""
        record = self.record(sources)
        return None if record is None else record.spec

    def record(self, sources: Sources) -> Meaning | None:
        """The source's."""
        source = self.found(sources)
        return None if source is None else source.record

    def check(self, checkpoint: Checkpoint, level: int, sources: Sources) -> None:
        """Raise CheckpointError unless the source fits."""
        source = self.found(sources)
        if source is not None:
            source.check(checkpoint, level)

    def require(self, bundle: Bundle, sources: Sources) -> None:
        """Raise CheckpointError unless the source is the bundle's."""
        if self.hashed is None:
            return
        source, record = self.found(sources), bundle.meanings.get(self.name)
        ours = None if record is None else getattr(record, self.hashed)
        what, option = self.source_name, f"--{self.source_name.lower()}"
        if ours is not None and source is None:
            raise CheckpointError(
                f"{bundle.folder}: its {self.name} can be compared only with their {what}; name "
                f"the {what}'s folder with {option}."
            )
        if source is not None and ours != getattr(source.record, self.hashed):
            made = f"with another (SHA-256 {ours[:12]}...)" if ours is not None else "without one"
            raise CheckpointError(
                f"{source.name}: not the {what} of {bundle.folder}, made {made}. Name its folder "
                f"with {option}."
            )


@dataclass(frozen=True)
class Answer:
    """What an artefact's answer is to.

    Attributes:
        audio: what the waveform, and the way of asking, is called.
        seconds: the waveform's duration.
        level: the layer that the artefact's features are taken from.
    """

    audio: str
    seconds: float
    level: int


class Reference:
    """The reference's hidden states for one waveform, and the answers that follow from them.

    Args:
        checkpoint: the reference.
        sources: the modules on top of it.
        waveform: (batch, samples) float32.

    Attributes:
        log_mel: (batch, mels, frames) float32, normalised.
        states: each (batch, steps, width) float32, from level 0.
    """

    def __init__(self, checkpoint: Checkpoint, sources: Sources, waveform: np.ndarray) -> None:
        self.checkpoint, self.sources = checkpoint, sources
        self._samples = torch.from_numpy(waveform)
        with torch.inference_mode():
            states = checkpoint.model(self._samples).hidden_states
            self.log_mel = checkpoint.model.model.preprocessor_melspec_2048(self._samples).numpy()
        self.states: list[np.ndarray] = [state.numpy() for state in states]
        self._found: dict[Hashable, Any] = {}

    @cached_property
    def exact_log_mel(self) -> Tensor:
        """(batch, mels, frames), computed in float64."""
        module = deepcopy(self.checkpoint.model.model.preprocessor_melspec_2048).double()
        with torch.inference_mode():
            found: Tensor = module(self._samples.double())
        return found

    @cached_property
    def exact_states(self) -> Sequence[Tensor]:
        """The hidden states, each (batch, steps, width), computed in float64: twice the weights'
        memory, and several times as long."""
        model = deepcopy(self.checkpoint.model).double()
        with torch.inference_mode():
            found: Sequence[Tensor] = model(self._samples.double()).hidden_states
        return found

    def expected(self, output: Output, level: int) -> np.ndarray:
        """The reference's answer, computed once."""
        return self.once((output.name, level), lambda: output.expected(self, level))

    def once(self, key: Hashable, compute: Callable[[], T]) -> T:
        """What follows from the reference, computed when it is first asked for by this key."""
        if key not in self._found:
            self._found[key] = compute()
        found: T = self._found[key]
        return found
