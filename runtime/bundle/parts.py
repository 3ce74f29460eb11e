"""An artefact's partial graphs: front end, encoder, levels, and those for some outputs only."""

from collections.abc import Container, Iterable, Mapping, Sequence
from pathlib import PurePosixPath

from .joint import LATENTS
from .output import Output
from .record import TensorSpec
from .tokens import TOKENS, TOKENS_FILE

# The front end's output, hidden state 0, and the encoder's input.
FRAMES = "frames"
# What the text encoder of a MuQ-MuLan's text tower gives, and the transformer above it reads.
STATES = TensorSpec(name="states", dtype="float32", shape=["batch", "tokens", "width"])
# The further inputs of the part that goes on from one hidden state to a deeper one: the two levels,
# and what is added to the attention's scores for each step that is attended to.
FIRST = TensorSpec(name="first_level", dtype="int64", shape=[])
LAST = TensorSpec(name="last_level", dtype="int64", shape=[])
ATTENTION_BIAS = TensorSpec(name="attention_bias", dtype="float32", shape=["batch", 1, 1, "steps"])


def front_end_file(file: str) -> str:
    """The file of the part from waveform to frames, beside the artefact's whole graph ``file``."""
    return _beside(file, "front-end")


def encoder_file(file: str) -> str:
    """The file of the part from frames to outputs, beside the artefact's whole graph ``file``."""
    return _beside(file, "encoder")


def text_encoder_file(file: str) -> str:
    """The file of the part from tokens to states, beside the text tower's whole graph ``file``."""
    return _beside(file, "encoder")


def text_transformer_file(file: str) -> str:
    """The file of the part from states to latents, beside the text tower's whole graph ``file``."""
    return _beside(file, "transformer")


def levels_file(file: str) -> str:
    """The file of the part from one hidden state to a deeper one, beside the artefact's whole graph
    ``file``."""
    return _beside(file, "levels")


def levels_inputs(width: int) -> list[TensorSpec]:
    """The inputs of the part from one hidden state, called the frames, to a deeper one."""
    return [frames_spec(width), ATTENTION_BIAS, FIRST, LAST]


def without_latents_file(file: str) -> str:
    """The file of the graph that gives all but the latents, beside the artefact's whole graph
    ``file``: other outputs do not pay for a MuQ-MuLan's audio tower."""
    return _beside(file, "without-latents")


# The files of parts of a model, which those who run it whole do not need.
PARTS = (
    front_end_file,
    encoder_file,
    levels_file,
    text_encoder_file,
    text_transformer_file,
)


def graph_files(
    file: str, files: Container[str], outputs: Iterable[str]
) -> list[tuple[frozenset[str], str]]:
    """The graphs from an artefact's inputs to outputs, and what each gives, the smallest first.

    An engine runs all of a graph, whichever of its outputs are asked for.

    Args:
        file: the artefact's whole graph.
        files: all of its files.
        outputs: all of its outputs.
    """
    every = frozenset(outputs)
    graphs = [
        (frozenset({TOKENS}), TOKENS_FILE),
        (every - {LATENTS}, without_latents_file(file)),
        (every, file),
    ]
    return [(gives, name) for gives, name in graphs if name in files]


def frames_spec(width: int) -> TensorSpec:
    """The frames: (batch, steps, width) float32."""
    return TensorSpec(name=FRAMES, dtype="float32", shape=["batch", "steps", width])


def encoder_outputs(
    outputs: Sequence[TensorSpec], meanings: Mapping[str, Output]
) -> list[TensorSpec]:
    """The whole graph's outputs that the encoder computes from the frames of overlapping windows.

    These are all but latents, which are of clips, and tokens of the log-mel.
    """
    left_out = {name for name, meaning in meanings.items() if not meaning.from_frames}
    return [spec for spec in outputs if spec.name not in left_out]


def _beside(file: str, part: str) -> str:
    path = PurePosixPath(file)
    return path.with_name(f"{path.stem}-{part}{path.suffix}").as_posix()
