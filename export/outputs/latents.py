"""Latents: embeddings in the space that a MuQ-MuLan's music and texts share."""

from collections.abc import Collection, Iterator, Sequence

import numpy as np

from ...reference.checkpoint import Checkpoint
from ...reference.mulan.model import MuLan
from ...reference.muq import MuQ
from ...runtime.bundle.certificate import AnyMeasurement, RankMeasurement, Thresholds
from ...runtime.bundle.joint import LATENTS, Joint
from ...runtime.bundle.record import TensorSpec
from ..graph.mulan.audio import audio_tower
from ..graph.writer import Graph
from ..sources.checkpoint import JointCheckpoint
from ..sources.sources import Sources
from .measuring import measure_ranks
from .output import Answer, Output, Reference


class Latents(Output):
    """(batch, width), of length one: their direction counts, and how they rank texts."""

    name = LATENTS

    def spec(self, model: MuQ, level: int, sources: Sources) -> TensorSpec | None:
        """(batch, width) float32."""
        if sources.mulan is None:
            return None
        shape: list[int | str] = ["batch", sources.mulan.config.mulan.dim_latent]
        return TensorSpec(name=self.name, dtype="float32", shape=shape)

    def check(self, checkpoint: Checkpoint, level: int, sources: Sources) -> None:
        """Raise CheckpointError if the audio tower stands on a level deeper than ``level``."""
        if isinstance(checkpoint, JointCheckpoint):
            checkpoint.check(level)

    def record(self, sources: Sources) -> Joint | None:
        """The joint space."""
        return sources.joint

    def write(self, graph: Graph, sources: Sources, log_mel: str, states: Sequence[str]) -> str:
        """The audio tower."""
        return audio_tower(graph, _mulan(sources), list(states))

    def requests(self, outputs: Collection[str]) -> dict[str, list[str]]:
        """The others may come from a graph without the audio tower."""
        others = [output for output in outputs if output != LATENTS]
        return {"without latents": others} if LATENTS in outputs else {}

    def expected(self, reference: Reference, level: int) -> np.ndarray:
        """(batch, width)."""
        return _joint(reference.checkpoint).audio_latents(reference.states)

    def measurements(
        self, reference: Reference, answer: Answer, ours: np.ndarray
    ) -> Iterator[AnyMeasurement]:
        """The cosines, and the order of texts for the music and of the music for texts."""
        yield from super().measurements(reference, answer, ours)
        texts = _joint(reference.checkpoint).proving_texts
        expected = reference.expected(self, answer.level)
        yield measure_ranks(answer.audio, answer.seconds, ours @ texts.T, expected @ texts.T)

    def figures(self, worst: Thresholds) -> str:
        """The worst cosine and the share of equal ranks."""
        return (
            f"worst cosine of latents {worst.worst_latents_cosine:.7f}, "
            f"equal ranks {worst.equal_ranks:.3%}"
        )

    def cells(self, measured: AnyMeasurement) -> list[str]:
        """The figures of the cosines, or the share of equal ranks."""
        if isinstance(measured, RankMeasurement):
            return ["", "", "", f"{measured.equal_ranks:.3%} of {measured.pairs} ranks"]
        return super().cells(measured)


def _mulan(sources: Sources) -> MuLan:
    assert sources.mulan is not None  # or there would be no such output
    return sources.mulan


def _joint(checkpoint: Checkpoint) -> JointCheckpoint:
    assert isinstance(checkpoint, JointCheckpoint)  # a MuQ alone has no such output
    return checkpoint
