"""Tokens: what a model's tokens quantize, and how files store them."""

from collections.abc import Sequence
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import Field, NonNegativeInt, PositiveInt

from .output import Gate, Output
from .record import Sha256, TensorSpec

TOKENS: Literal["tokens"] = "tokens"  # the output's name
# Of an artefact whose tokens need no encoder: the graph from waveform to tokens alone.
TOKENS_FILE = "tokens.onnx"
_MOST_CODES = 2**31 - 1  # a token is an int32


class Tokenizer(Output):
    """What the ``tokens`` output means.

    Attributes:
        stages: how many tokens a step has; each refines the ones before it.
        codes: number of values of a token, counted from 0.
        level: the hidden state that is quantized; none for the log-mel.
        rvq_sha256: hash of the RVQ's weights and of its input's normalisation.
    """

    output: ClassVar[str] = TOKENS
    key: ClassVar[str] = "tokenizer"
    optional: ClassVar[bool] = True
    always_listed: ClassVar[bool] = True
    how_to_get: ClassVar[str] = (
        "this model has no tokens. Export it with them: "
        "muqrt export CHECKPOINT --outputs embedding,tokens -o BUNDLE"
    )
    gates: ClassVar[tuple[Gate, ...]] = (Gate("equal_tokens", "equal_tokens", share_of="tokens"),)

    stages: PositiveInt
    codes: Annotated[int, Field(ge=1, le=_MOST_CODES)]
    level: NonNegativeInt | None = None
    rvq_sha256: Sha256

    @property
    def spec(self) -> TensorSpec:
        """The output: (batch, stages, steps). The log-mel's steps are the whole ones only; a hidden
        state has one more where a waveform ends with an incomplete step."""
        steps = "whole_steps" if self.level is None else "steps"
        return TensorSpec(name=TOKENS, dtype="int32", shape=["batch", self.stages, steps])

    @property
    def from_frames(self) -> bool:
        """Whether they are of a hidden state; the log-mel's need no frames."""
        return self.level is not None

    def summary(self, sample_rate_hz: int) -> list[str]:
        """How many tokens of how many codes, and whose."""
        what = "the log-mel" if self.level is None else f"level {self.level}"
        return [
            f"tokens: {self.stages} per step, {self.codes} codes each, by an RVQ of {what}, "
            f"{self.rvq_sha256[:12]}..."
        ]

    @property
    def file_dtype(self) -> np.dtype:
        """The dtype of tokens in files: int16 where the codes fit."""
        return np.dtype(np.int16 if self.codes <= 2**15 else np.int32)


def arrow_tokens(tracks: Sequence[np.ndarray]) -> Any:
    """Tracks' tokens, each (stages, steps) of one dtype, as an Arrow array: of each track a list of
    stages that are lists of steps."""
    import pyarrow

    stages = [len(each) for each in tracks]
    steps = [each.shape[1] for each in tracks for _ in each]
    flat = np.concatenate([each.ravel() for each in tracks])
    by_stage = pyarrow.ListArray.from_arrays(_offsets(steps), flat)
    return pyarrow.ListArray.from_arrays(_offsets(stages), by_stage)


def _offsets(lengths: list[int]) -> np.ndarray:
    """Where each list begins in their concatenation, and where the last one ends."""
    return np.cumsum([0, *lengths], dtype=np.int32)
