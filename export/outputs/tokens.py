"""Tokens: the codes of a residual vector quantizer."""

from collections.abc import Collection, Iterator, Sequence

import numpy as np
import torch
from onnx import FunctionProto
from torch import Tensor

from ...reference.checkpoint import Checkpoint
from ...reference.muq import MuQ
from ...runtime.bundle.certificate import AnyMeasurement, Thresholds, TokenMeasurement
from ...runtime.bundle.manifest import Bundle
from ...runtime.bundle.record import TensorSpec
from ...runtime.bundle.tokens import TOKENS, Tokenizer
from ..graph.rvq import functions, tokens
from ..graph.writer import Graph
from ..sources.rvq import TokenRvq
from ..sources.same import require_same
from ..sources.sources import Sources
from .near_ties import equal_tokens
from .output import Answer, Output, Reference


class Tokens(Output):
    """(batch, stages, steps) int32: what counts is how many are the reference's."""

    name = TOKENS

    def spec(self, model: MuQ, level: int, sources: Sources) -> TensorSpec | None:
        """The tokenizer's."""
        return None if sources.rvq is None else sources.rvq.tokenizer.spec

    def check(self, checkpoint: Checkpoint, level: int, sources: Sources) -> None:
        """Raise CheckpointError if the RVQ quantizes a hidden state deeper than ``level``."""
        if sources.rvq is not None:
            sources.rvq.check(level)

    def require(self, bundle: Bundle, sources: Sources) -> None:
        """Raise CheckpointError unless the RVQ is the bundle's."""
        ours, rvq = bundle.tokenizer, sources.rvq
        require_same(
            bundle,
            ("tokens", "RVQ"),
            None if ours is None else ours.rvq_sha256,
            None if rvq is None else (rvq.name, rvq.tokenizer.rvq_sha256),
        )

    def record(self, sources: Sources) -> Tokenizer | None:
        """The tokenizer."""
        return None if sources.rvq is None else sources.rvq.tokenizer

    def needs_encoder(self, sources: Sources) -> bool:
        """Whether a hidden state is quantized, not the log-mel."""
        return _rvq(sources).needs_encoder

    def write(self, graph: Graph, sources: Sources, log_mel: str, states: Sequence[str]) -> str:
        """The RVQ."""
        return tokens(graph, _rvq(sources), log_mel, list(states))

    def functions(self, sources: Sources) -> list[FunctionProto]:
        """``muqrt::MelRvq``, for an RVQ that can be folded into it."""
        return functions(_rvq(sources))

    def requests(self, outputs: Collection[str]) -> dict[str, list[str]]:
        """Tokens alone may come from a graph of their own."""
        return {"tokens alone": [TOKENS]} if TOKENS in outputs else {}

    def expected(self, reference: Reference, level: int) -> np.ndarray:
        """What the reference quantizes, (batch, width, steps) float32: its own tokens depend on
        the earlier ones that an artefact has chosen."""
        states = [torch.from_numpy(state) for state in reference.states]
        quantized: Tensor = _rvq(reference.sources).input(
            torch.from_numpy(reference.log_mel), states
        )
        return quantized.numpy()

    def measurements(
        self, reference: Reference, answer: Answer, ours: np.ndarray
    ) -> Iterator[AnyMeasurement]:
        """The share of equal tokens."""
        quantized = torch.from_numpy(reference.expected(self, answer.level))
        yield TokenMeasurement(
            audio=answer.audio,
            seconds=answer.seconds,
            tokens=ours.size,
            equal_tokens=equal_tokens(_rvq(reference.sources).rvq, quantized, ours),
        )

    def figures(self, worst: Thresholds) -> str:
        """The share of equal tokens."""
        return f"equal tokens {worst.equal_tokens:.3%}"

    def cells(self, measured: AnyMeasurement) -> list[str]:
        """The share alone."""
        assert isinstance(measured, TokenMeasurement)
        return ["", "", "", f"{measured.equal_tokens:.3%} of tokens"]


def _rvq(sources: Sources) -> TokenRvq:
    assert sources.rvq is not None  # or there would be no such output
    return sources.rvq
