"""The space that music and texts share, and the towers of a MuQ-MuLan in a bundle."""

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field, PositiveInt

from ...errors import SessionError
from .output import Gate, Output
from .record import RelativeFile, Sha256, TensorSpec

LATENTS: Literal["latents"] = "latents"  # the output's name
IDS = TensorSpec(name="ids", dtype="int64", shape=["batch", "tokens"])
MASK = TensorSpec(name="mask", dtype="int64", shape=["batch", "tokens"])
TOKENIZER_FILE = "tokenizer.json"
# Far above any real model's; they keep a hostile manifest from filling the memory.
_MOST_TOKENS = 1 << 16
_LONGEST_CLIP_SAMPLES = 600 * 24_000


class Joint(Output):
    """What the ``latents`` outputs mean.

    Attributes:
        width: dimensions of an embedding, which has unit length.
        clip_samples: length of the audio that an embedding is for; longer tracks are cut.
        temperature: factor of the cosines in training, before the softmax.
        tokenizer: the text encoder's ``tokenizer.json``, in the bundle.
        tokenizer_sha256: hash of that file.
        vocabulary: number of tokens that the text encoder knows.
        max_tokens: length of the longest text that it takes, in tokens.
    """

    output: ClassVar[str] = LATENTS
    key: ClassVar[str] = "joint"
    always_listed: ClassVar[bool] = True
    optional: ClassVar[bool] = True
    how_to_get: ClassVar[str] = (
        "this model shares no space with texts. Export a MuQ-MuLan: muqrt export "
        "OpenMuQ/MuQ-MuLan-large -o BUNDLE; of its artefacts, PyTorch's have no latents."
    )
    gates: ClassVar[tuple[Gate, ...]] = (
        Gate("worst_frame_cosine", "worst_latents_cosine"),
        Gate("equal_ranks", "equal_ranks", share_of="pairs"),
    )

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

    def summary(self, sample_rate_hz: int) -> list[str]:
        """How wide embeddings are, and of which clips and texts."""
        seconds = self.clip_samples / sample_rate_hz
        return [
            f"latents: {self.width} wide, for clips of {seconds:g} s and texts of up to "
            f"{self.max_tokens} tokens, tokenizer {self.tokenizer_sha256[:12]}..."
        ]

    @property
    def from_frames(self) -> bool:
        """False: latents are of clips, not of overlapping windows."""
        return False

    def check_texts(self, inputs: Mapping[str, np.ndarray]) -> None:
        """Raise SessionError for tokens that the text encoder cannot take; dtypes and shapes are
        already checked."""
        ids, mask = inputs[IDS.name], inputs[MASK.name]
        if ids.shape[1] > self.max_tokens:
            raise SessionError(
                f"a text of {ids.shape[1]} tokens; this model takes {self.max_tokens} at most: "
                "cut it first."
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
