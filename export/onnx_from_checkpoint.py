"""Checkpoint to ONNX: one graph from raw waveform to features, tags, tokens and latents."""

from collections.abc import Sequence
from pathlib import Path

import onnx
from onnx.external_data_helper import set_external_data

from ..errors import UsageError
from ..kernels.log_mel.onnx import log_mel_function
from ..reference.head import Head
from ..reference.mulan.model import MuLan
from ..reference.muq import MuQ
from ..runtime.bundle.joint import LATENTS
from ..runtime.bundle.manifest import TensorSpec
from ..runtime.bundle.parts import FRAMES
from ..runtime.bundle.tagging import TAGS
from ..runtime.bundle.tokens import TOKENS, Tokenizer
from .graph.conformer import conformer
from .graph.front_end import front_end, log_mel
from .graph.head import tags
from .graph.mulan.audio import audio_tower
from .graph.rvq import functions, tokens
from .graph.writer import OPSET, Graph
from .sources.rvq import TokenRvq

TARGETS = ("cpu", "any")
INPUT = TensorSpec(name="waveform", dtype="float32", shape=["batch", "samples"])
# Protobuf cannot hold 2 GiB; external data is mapped when it is loaded, not parsed, and a graph's
# parts share it.
_EXTERNAL_DATA_FROM_BYTES = 16 << 20
# Tensors below this stay in the graph, where shape inference can read them.
_SMALL_TENSOR_BYTES = 1024
# Weights begin at whole pages, so that a runtime can map each.
_PAGE_BYTES = 4096


def onnx_from_checkpoint(
    model: MuQ,
    outputs: Sequence[str] = ("features", "embedding"),
    level: int | None = None,
    target: str = "cpu",
    head: Head | None = None,
    rvq: TokenRvq | None = None,
    graph: Graph | None = None,
    mulan: MuLan | None = None,
) -> onnx.ModelProto:
    """Build the graph: dynamic batch and time, the mel and the RVQ as local functions.

    Args:
        model: the reference model.
        outputs: among those of ``output_specs``.
        level: 0 for the front end's output, up to the number of layers; the deepest when None.
            Deeper layers are left out of the file.
        target: "cpu" writes the front end in Winograd form, which CPU engines lack; "any" leaves
            it convolutions, for engines that choose the algorithm themselves.
        head: what the output ``tags`` is computed by; its levels are at most ``level``.
        rvq: what the output ``tokens`` is computed by; so is its level. Tokens of the log-mel,
            asked for alone, leave the encoder out.
        graph: what writes it, empty as yet; one that writes float32 when left out.
        mulan: what the output ``latents`` is computed by, on top of a level up to ``level``.

    Raises:
        UsageError: an unknown output, level or target.
    """
    target = checked_target(target)
    level = checked_level(model, level)
    tokenizer = rvq.tokenizer if rvq is not None else None
    specs = output_specs(model, outputs, level, head, tokenizer, mulan)
    graph = graph or Graph()
    spectrum = log_mel(graph, model.model.preprocessor_melspec_2048, INPUT.name)
    states = []
    if rvq is None or rvq.needs_encoder or [spec.name for spec in specs] != [TOKENS]:
        x = frames(graph, model, spectrum, target)
        states = conformer(graph, model.model.conformer, x, level)
    for spec in specs:
        if spec.name == TOKENS and rvq is not None:
            value = tokens(graph, rvq, spectrum, states)
        elif spec.name == LATENTS and mulan is not None:
            value = audio_tower(graph, mulan, states)
        else:
            value = _output(graph, spec.name, states, head)
        graph.rename(value, spec.name)
    called = [log_mel_function(OPSET), *(functions(rvq) if rvq is not None else [])]
    return graph.model([INPUT], specs, called)


def frames(graph: Graph, model: MuQ, spectrum: str, target: str) -> str:
    """Hidden state 0 of the log-mel, (batch, steps, width); ``target`` as above."""
    x = graph.front_end(model, spectrum)
    if x is None:
        x = front_end(graph, model.model.conv, spectrum, winograd=target == "cpu")
    graph.rename(x, FRAMES)  # because there the graph can be cut in two
    return FRAMES


def checked_target(target: str) -> str:
    """The target.

    Raises:
        UsageError: there is no such target.
    """
    if target not in TARGETS:
        raise UsageError(f"target {target!r}: choose among {', '.join(TARGETS)}.")
    return target


def checked_level(model: MuQ, level: int | None) -> int:
    """The level asked for, or the deepest one.

    Raises:
        UsageError: the model has no such level.
    """
    depth = model.config.encoder_depth
    if level is not None and not 0 <= level <= depth:
        raise UsageError(f"level {level}: this model has levels 0 to {depth}.")
    return depth if level is None else level


def output_specs(
    model: MuQ,
    outputs: Sequence[str],
    level: int,
    head: Head | None = None,
    tokenizer: Tokenizer | None = None,
    mulan: MuLan | None = None,
) -> list[TensorSpec]:
    """Names and shapes of the outputs asked for.

    ``features`` (batch, steps, width) at ``level``; ``embedding`` (batch, width), their mean
    over time; ``hidden_states`` (batch, level + 1, steps, width); with a head, ``tags`` (batch,
    tags); with a tokenizer, ``tokens`` (batch, stages, steps) int32; with a MuQ-MuLan, ``latents``
    (batch, dim_latent), of length one.

    Raises:
        UsageError: an output no graph has.
    """
    width = model.config.encoder_dim
    shapes: dict[str, list[int | str]] = {
        "features": ["batch", "steps", width],
        "embedding": ["batch", width],
        "hidden_states": ["batch", level + 1, "steps", width],
    }
    if head is not None:
        shapes[TAGS] = ["batch", len(head.config.labels)]
    if mulan is not None:
        shapes[LATENTS] = ["batch", mulan.config.mulan.dim_latent]
    specs = {n: TensorSpec(name=n, dtype="float32", shape=shape) for n, shape in shapes.items()}
    if tokenizer is not None:
        specs[TOKENS] = tokenizer.spec
    unknown = [name for name in outputs if name not in specs]
    if unknown or not outputs:
        raise UsageError(f"outputs {unknown}: choose among {', '.join(specs)}.")
    return [specs[name] for name in dict.fromkeys(outputs)]


def save_onnx(model: onnx.ModelProto, path: Path) -> list[Path]:
    """Write the model, large weights beside it; returns every file written.

    Weights leave ``model`` one by one as they are written: serializing a full-size model whole,
    which onnx.save and even ByteSize do, takes 5 GB more memory.
    """
    weights_bytes = sum(len(tensor.raw_data) for tensor in model.graph.initializer)
    if weights_bytes < _EXTERNAL_DATA_FROM_BYTES:
        path.write_bytes(model.SerializeToString())
        return [path]
    data = path.with_name(path.name + ".data")
    with data.open("wb") as file:
        for tensor in model.graph.initializer:
            if len(tensor.raw_data) < _SMALL_TENSOR_BYTES:
                continue
            file.seek(-(-file.tell() // _PAGE_BYTES) * _PAGE_BYTES)
            set_external_data(tensor, data.name, file.tell(), len(tensor.raw_data))
            file.write(tensor.raw_data)
            tensor.ClearField("raw_data")
    path.write_bytes(model.SerializeToString())
    return [path, data]


def _output(graph: Graph, name: str, states: list[str], head: Head | None) -> str:
    if name == TAGS and head is not None:
        return tags(graph, head, states)
    if name == "features":
        return states[-1]
    if name == "embedding":
        return graph.op("ReduceMean", states[-1], graph.constant([1]), keepdims=0)
    stacked = [graph.op("Unsqueeze", state, graph.constant([1])) for state in states]
    return graph.op("Concat", *stacked, axis=1)
