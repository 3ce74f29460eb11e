"""The space that music and texts share, and what a MuQ-MuLan's towers are in a bundle."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Literal

import numpy as np
from pydantic import Field, PositiveInt

from ...errors import SessionError
from .record import Record, RelativeFile, Sha256, TensorSpec

LATENTS: Literal["latents"] = "latents"  # the output's name
IDS = TensorSpec(name="ids", dtype="int64", shape=["batch", "tokens"])
MASK = TensorSpec(name="mask", dtype="int64", shape=["batch", "tokens"])
TOKENIZER_FILE = "tokenizer.json"
# Far above any real model's; they keep a hostile manifest from filling the memory.
_MOST_TOKENS = 1 << 16
_LONGEST_CLIP_SAMPLES = 600 * 24_000


class Joint(Record):
    """What the ``latents`` outputs mean.

    Attributes:
        width: of an embedding, whose length is one.
        clip_samples: of what an audio embedding is meant for; longer tracks are cut.
        temperature: what cosines were multiplied by in training, before the softmax.
        tokenizer: the text encoder's ``tokenizer.json``, in the bundle.
        tokenizer_sha256: of its bytes.
        vocabulary: the text encoder has vectors for so many tokens.
        max_tokens: and positions for so many in a text.
    """

    width: PositiveInt
    clip_samples: Annotated[int, Field(ge=1, le=_LONGEST_CLIP_SAMPLES)]
    temperature: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    tokenizer: RelativeFile
    tokenizer_sha256: Sha256
    vocabulary: PositiveInt
    max_tokens: Annotated[int, Field(ge=2, le=_MOST_TOKENS)]

    @property
    def spec(self) -> TensorSpec:
        """The output of either tower: (batch, width)."""
        return TensorSpec(name=LATENTS, dtype="float32", shape=["batch", self.width])

    def check_texts(self, inputs: Mapping[str, np.ndarray]) -> None:
        """Raise SessionError for tokens that the text encoder cannot take; dtypes and shapes are
        already checked."""
        ids, mask = inputs[IDS.name], inputs[MASK.name]
        if ids.shape[1] > self.max_tokens:
            raise SessionError(
                f"a text of {ids.shape[1]} tokens; this model takes {self.max_tokens} at most: "
                "cut it before."
            )
        if ids.min() < 0 or ids.max() >= self.vocabulary:
            wrong = int(ids[(ids < 0) | (ids >= self.vocabulary)][0])
            raise SessionError(
                f"ids has token {wrong}; this model knows 0 to {self.vocabulary - 1}: texts have "
                "to be encoded by the bundle's own tokenizer."
            )
        if not (mask != 0).any(axis=1).all():
            row = int(np.flatnonzero(~(mask != 0).any(axis=1))[0])
            raise SessionError(f"text {row} is nothing but padding: its mask is 0 everywhere.")


def check_latents(outputs: Sequence[TensorSpec], joint: Joint | None) -> None:
    """Raise ValueError unless an output ``latents`` is the joint space's. Some engines' artefacts
    have none."""
    found = [spec for spec in outputs if spec.name == LATENTS]
    expected = [] if joint is None else [joint.spec]
    if found and found != expected:
        raise ValueError(f"outputs {LATENTS!r} are {found}; by the joint space: {expected}")
