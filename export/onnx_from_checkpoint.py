"""Checkpoint to ONNX: one graph from raw waveform to features, tags, tokens and latents."""

from collections.abc import Sequence

import onnx

from ..errors import UsageError
from ..kernels.log_mel.onnx import log_mel_function
from ..reference.muq import MuQ
from ..runtime.bundle.parts import FRAMES
from ..runtime.bundle.record import TensorSpec
from .graph.conformer import conformer
from .graph.front_end import front_end, log_mel, over_time
from .graph.writer import OPSET, Graph
from .outputs.registry import output_named, output_specs
from .sources.sources import NO_SOURCES, Sources

TARGETS = ("cpu", "any")
INPUT = TensorSpec(name="waveform", dtype="float32", shape=["batch", "samples"])


def onnx_from_checkpoint(
    model: MuQ,
    outputs: Sequence[str] = ("features", "embedding"),
    level: int | None = None,
    target: str = "cpu",
    sources: Sources = NO_SOURCES,
    graph: Graph | None = None,
) -> onnx.ModelProto:
    """Build the graph: dynamic batch and time, the mel and the RVQ as local functions.

    Args:
        model: the reference model.
        outputs: among those of ``output_specs``.
        level: the deepest layer to export: 0 for the front end's output, up to the number of
            layers; all when None.
        target: "cpu" writes the front end in Winograd form, which CPU engines lack; "any" leaves
            it convolutions, for engines that choose the algorithm themselves.
        sources: what the outputs ``tags``, ``tokens`` and ``latents`` are computed by, from levels
            up to ``level``. Tokens of the log-mel, asked for alone, leave the encoder out.
        graph: what writes it, still empty; one that writes float32 by default.

    Raises:
        UsageError: an unknown output, level or target.
    """
    target = checked_target(target)
    level = checked_level(model, level)
    specs = output_specs(model, outputs, level, sources)
    chosen = [output_named(spec.name) for spec in specs]
    graph = graph or Graph()
    graph.cuts_long_inputs = target == "cpu"
    spectrum = log_mel(graph, model.model.preprocessor_melspec_2048, INPUT.name)
    states = []
    if any(output.needs_encoder(sources) for output in chosen):
        x = frames(graph, model, spectrum, target)
        states = conformer(graph, model.model.conformer, x, level, graph.cuts_long_inputs)
    for output in chosen:
        graph.rename(output.write(graph, sources, spectrum, states), output.name)
    functions = [each for output in chosen for each in output.functions(sources)]
    return graph.model([INPUT], specs, [log_mel_function(OPSET), *functions])


def frames(graph: Graph, model: MuQ, spectrum: str, target: str) -> str:
    """Write the front end: hidden state 0, (batch, steps, width); ``target`` is "cpu" or "any"."""
    frames_per_step, width = model.config.frames_per_step, model.config.encoder_dim

    def write(log_mel: str) -> str:
        x = graph.front_end(model, log_mel)
        return x or front_end(graph, model.model.conv, log_mel, winograd=target == "cpu")

    if target == "cpu":
        x = over_time(graph, spectrum, frames_per_step, width, write)
    else:
        x = write(spectrum)
    graph.rename(x, FRAMES)  # because there the graph can be cut in two
    return FRAMES


def checked_target(target: str) -> str:
    """Return the target.

    Raises:
        UsageError: there is no such target.
    """
    if target not in TARGETS:
        raise UsageError(f"target {target!r}: choose among {', '.join(TARGETS)}.")
    return target


def checked_level(model: MuQ, level: int | None) -> int:
    """Return the level asked for, by default the deepest.

    Raises:
        UsageError: the model has no such level.
    """
    depth = model.config.encoder_depth
    if level is not None and not 0 <= level <= depth:
        raise UsageError(f"level {level}: this model has levels 0 to {depth}.")
    return depth if level is None else level
