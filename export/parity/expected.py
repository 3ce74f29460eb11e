"""What the reference says of an excerpt, and how far an artefact's answers are from it."""

from collections.abc import Iterator

import numpy as np
import torch

from ...reference.checkpoint import Checkpoint
from ...runtime.bundle.certificate import AnyMeasurement, TokenMeasurement
from ...runtime.bundle.joint import LATENTS
from ...runtime.bundle.tagging import TAGS
from ...runtime.bundle.tokens import TOKENS
from ...runtime.engines.session import Arrays
from ..sources.checkpoint import JointCheckpoint
from ..sources.head import TagHead
from ..sources.rvq import TokenRvq
from .measuring import measure, measure_ranks
from .tokens import equal_tokens


class Expected:
    """The reference's answers to one waveform.

    Args:
        checkpoint: the reference.
        waveform: (batch, samples) float32.
        head, rvq: what ``tags`` and ``tokens`` are compared with.
        texts: the reference's embeddings (texts, width) of what the ``latents`` are to rank.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        waveform: np.ndarray,
        head: TagHead | None,
        rvq: TokenRvq | None,
        texts: np.ndarray | None,
    ) -> None:
        heard = torch.from_numpy(waveform)
        with torch.inference_mode():
            states = checkpoint.model(heard).hidden_states
            log_mel = checkpoint.model.model.preprocessor_melspec_2048(heard)
        self._states = [state.numpy() for state in states]
        self._head, self._rvq, self._texts = head, rvq, texts
        self._quantized = None if rvq is None else rvq.input(log_mel, states)
        self.latents: np.ndarray | None = None
        if isinstance(checkpoint, JointCheckpoint):
            self.latents = checkpoint.audio_latents(self._states)

    def measurements(
        self, name: str, seconds: float, level: int, answer: Arrays
    ) -> Iterator[AnyMeasurement]:
        """Every output of an answer against the reference's.

        Args:
            name, seconds: what the waveform is called, and its duration.
            level: the encoder level that the answer's features are of.
            answer: by output.
        """
        for output, ours in answer.items():
            if output == TOKENS and self._rvq is not None and self._quantized is not None:
                share = equal_tokens(self._rvq.rvq, self._quantized, ours)
                yield TokenMeasurement(
                    audio=name, seconds=seconds, tokens=ours.size, equal_tokens=share
                )
                continue
            yield measure(name, seconds, output, ours, self._of(output, level))
            if output == LATENTS and self._texts is not None and self.latents is not None:
                cosines = (each @ self._texts.T for each in (ours, self.latents))
                yield measure_ranks(name, seconds, *cosines)

    def _of(self, output: str, level: int) -> np.ndarray:
        if output == LATENTS and self.latents is not None:
            return self.latents
        if output == TAGS and self._head is not None:
            return self._head.expected(self._states)
        if output == "hidden_states":
            return np.stack(self._states[: level + 1], axis=1)
        features = self._states[level]
        return features.mean(axis=1) if output == "embedding" else features
