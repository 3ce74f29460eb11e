"""Latents: embeddings in the space that a MuQ-MuLan's music and texts share."""

from collections.abc import Collection, Iterator, Sequence

import numpy as np

from ...runtime.bundle.certificate import AnyMeasurement, Thresholds
from ...runtime.bundle.joint import LATENTS
from ...runtime.parity.measuring import measure_ranks
from ..graph.mulan.towers import audio_tower
from ..graph.writer import Graph
from ..sources.checkpoint import JointCheckpoint
from ..sources.sources import Sources
from .output import Answer, Reference, SourcedOutput


class Latents(SourcedOutput[JointCheckpoint]):
    """(batch, width), of length one: their direction counts, and how they rank texts."""

    name = LATENTS
    source_name = "MuQ-MuLan"

    def found(self, sources: Sources) -> JointCheckpoint | None:
        """The MuQ-MuLan."""
        return sources.joint

    def write(self, graph: Graph, sources: Sources, log_mel: str, states: Sequence[str]) -> str:
        """The audio tower."""
        return audio_tower(graph, self.source(sources).mulan, list(states))

    def requests(self, outputs: Collection[str]) -> dict[str, list[str]]:
        """The others may come from a graph without the audio tower."""
        others = [output for output in outputs if output != LATENTS]
        return {"without latents": others} if LATENTS in outputs else {}

    def expected(self, reference: Reference, level: int) -> np.ndarray:
        """(batch, width)."""
        return self.source(reference.sources).audio_latents(reference.states)

    def measurements(
        self, reference: Reference, answer: Answer, ours: np.ndarray
    ) -> Iterator[AnyMeasurement]:
        """The cosines, and the order of texts for the music and of the music for texts."""
        yield from super().measurements(reference, answer, ours)
        texts = self.source(reference.sources).proving_texts
        expected = reference.expected(self, answer.level)
        yield measure_ranks(answer.audio, answer.seconds, ours @ texts.T, expected @ texts.T)

    def figures(self, worst: Thresholds) -> str:
        """The worst cosine and the share of equal ranks."""
        return (
            f"worst cosine of latents {worst.worst_latents_cosine:.7f}, "
            f"equal ranks {worst.equal_ranks:.3%}"
        )
