"""An artefact in two parts, for windows that overlap: front end and encoder, each a graph."""

from collections.abc import Sequence
from pathlib import PurePosixPath

from .record import TensorSpec
from .tokens import TOKENS, Tokenizer

# The front end's output, hidden state 0, and the encoder's input.
FRAMES = "frames"


def front_end_file(file: str) -> str:
    """The file of the part from waveform to frames, beside the artefact's whole graph ``file``."""
    return _beside(file, "front-end")


def encoder_file(file: str) -> str:
    """The file of the part from frames to outputs, beside the artefact's whole graph ``file``."""
    return _beside(file, "encoder")


def frames_spec(width: int) -> TensorSpec:
    """The frames: (batch, steps, width) float32."""
    return TensorSpec(name=FRAMES, dtype="float32", shape=["batch", "steps", width])


def encoder_outputs(outputs: Sequence[TensorSpec], tokenizer: Tokenizer | None) -> list[TensorSpec]:
    """Those of the whole graph's outputs that need nothing but the frames: all but tokens of the
    log-mel."""
    of_log_mel = tokenizer is not None and tokenizer.level is None
    return [spec for spec in outputs if not (spec.name == TOKENS and of_log_mel)]


def _beside(file: str, part: str) -> str:
    path = PurePosixPath(file)
    return path.with_name(f"{path.stem}-{part}{path.suffix}").as_posix()
