"""Tokens: the codes of a residual vector quantizer."""

from collections.abc import Collection, Iterator, Sequence

import numpy as np
import torch
from onnx import FunctionProto

from ...runtime.bundle.certificate import AnyMeasurement, Thresholds, TokenMeasurement
from ...runtime.bundle.tokens import TOKENS
from ...runtime.parity.stored import ERROR, ERROR_SCALE, EXPECTED
from ..graph.rvq import functions, tokens
from ..graph.writer import Graph
from ..sources.rvq import TokenRvq
from ..sources.sources import Sources
from .measuring import equal_tokens
from .output import Answer, Reference, SourcedOutput
from .stored_rvq import stored_rvq


class Tokens(SourcedOutput[TokenRvq]):
    """(batch, stages, steps) int32: what counts is how many are the reference's."""

    name = TOKENS
    source_name = "RVQ"
    hashed = "rvq_sha256"

    def found(self, sources: Sources) -> TokenRvq | None:
        """The RVQ."""
        return sources.rvq

    def needs_encoder(self, sources: Sources) -> bool:
        """Whether a hidden state is quantized, not the log-mel."""
        return self.source(sources).needs_encoder

    def write(self, graph: Graph, sources: Sources, log_mel: str, states: Sequence[str]) -> str:
        """The RVQ."""
        return tokens(graph, self.source(sources), log_mel, list(states))

    def functions(self, sources: Sources) -> list[FunctionProto]:
        """``muqrt::MelRvq``, for an RVQ that can be folded into it."""
        return functions(self.source(sources))

    def requests(self, outputs: Collection[str]) -> dict[str, list[str]]:
        """Tokens alone may come from a graph of their own."""
        return {"tokens alone": [TOKENS]} if TOKENS in outputs else {}

    def expected(self, reference: Reference, level: int) -> np.ndarray:
        """What the reference quantizes, (batch, width, steps) float32: its own tokens depend on
        the earlier ones that an artefact has chosen."""
        states = [torch.from_numpy(state) for state in reference.states]
        log_mel = torch.from_numpy(reference.log_mel)
        return self.source(reference.sources).input(log_mel, states).numpy()

    def measurements(
        self, reference: Reference, answer: Answer, ours: np.ndarray
    ) -> Iterator[AnyMeasurement]:
        """The share of equal tokens."""
        rvq, quantized = self.source(reference.sources), reference.expected(self, answer.level)
        # Other ways of asking, and artefacts that differ in the encoder alone, have the same.
        same = self.name, answer.level, ours.dtype.str, ours.shape, ours.tobytes()
        share = reference.once(
            same,
            lambda: equal_tokens(
                rvq.rvq, torch.from_numpy(quantized), ours, lambda: self._exact(reference)
            ),
        )
        yield TokenMeasurement(
            audio=answer.audio, seconds=answer.seconds, tokens=ours.size, equal_tokens=share
        )

    def stored(self, reference: Reference, level: int) -> dict[str, np.ndarray]:
        """What the reference quantizes, and by how much its rounding has moved that."""
        quantized, exact = reference.expected(self, level), self._exact(reference)
        error = (exact.numpy() - quantized.astype(np.float64)) * ERROR_SCALE
        return {EXPECTED: quantized, ERROR: error.astype(np.float16)}

    def stored_source(self, sources: Sources) -> dict[str, np.ndarray]:
        """The RVQ's weights."""
        return dict(stored_rvq(self.source(sources).rvq))

    def _exact(self, reference: Reference) -> torch.Tensor:
        """What the reference would quantize in float64."""
        rvq = self.source(reference.sources)
        states = reference.exact_states if rvq.needs_encoder else []
        return rvq.input(reference.exact_log_mel, states)

    def figures(self, worst: Thresholds) -> str:
        """The share of equal tokens."""
        return f"equal tokens {worst.equal_tokens:.3%}"
