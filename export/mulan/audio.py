"""The audio tower of a MuQ-MuLan to ONNX: a clip's raw waveform to its embedding."""

import onnx

from ...kernels.log_mel_onnx import log_mel_function
from ...reference.mulan.model import MuLan
from ..conformer import conformer
from ..folding import linear
from ..graph import OPSET, Graph
from ..log_mel import log_mel
from ..onnx_from_checkpoint import INPUT, checked_target, frames
from .latents import latents
from .transformer import transformer


def mulan_audio_graph(
    model: MuLan, target: str = "cpu", graph: Graph | None = None
) -> onnx.ModelProto:
    """Build the graph: dynamic batch and time, the mel as a local function.

    The input is ``waveform`` (batch, samples) float32 at 24 kHz, one clip a row, more than 1024
    samples. The output is ``latents`` (batch, dim_latent) float32, of length one: what
    ``MuLan.audio_latents`` gives. The MuQ's weights have the names and bytes that they have in
    what ``onnx_from_checkpoint`` makes of it, for the same target; layers that the tower does not
    look at are left out.

    Args:
        model: the reference model.
        target: as ``onnx_from_checkpoint``'s.
        graph: what writes it, empty as yet; one that writes float32 when left out.

    Raises:
        UsageError: an unknown target.
    """
    target = checked_target(target)
    graph = graph or Graph()
    tower, muq = model.mulan.audio, model.mulan.audio.model
    spectrum = log_mel(graph, muq.model.preprocessor_melspec_2048, INPUT.name)
    level = tower.level % (muq.config.encoder_depth + 1)  # negative ones count from the last
    x = conformer(graph, muq.model.conformer, frames(graph, muq, spectrum, target), level)[-1]
    with graph.scope("audio"):
        x = graph.linear("proj", *linear(tower.proj), x)
        x = transformer(graph, tower.transformer, x)
        x = graph.op("ReduceMean", x, graph.constant([1]), keepdims=0)
        output = latents(graph, model.mulan.audio_to_latents, x)
    return graph.model([INPUT], [output], [log_mel_function(OPSET)])
