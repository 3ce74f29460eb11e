"""The convolutional front end as ONNX operators, batch norms folded.

The direct form is for engines that choose their own convolution algorithms; see ``winograd`` for
the other one.

A block's two convolutions of the same input stay apart: ONNX Runtime fuses the ReLU and the
residual addition into separate convolutions, and merged ones measured 1 to 3 % slower.
"""

from collections.abc import Callable
from typing import cast

from ...kernels.log_mel import tables as log_mel_tables
from ...kernels.log_mel.onnx import NAME
from ...kernels.onnx_nodes import DOMAIN, PLUGIN
from ...reference.front_end import Conv2dSubsampling, Res2dModule
from ...reference.mel import LogMel
from .blocks import Blocks, in_blocks, nothing, rounded_up, sliced
from .folding import fold_batch_norm, linear
from .winograd import residual_blocks
from .writer import Graph

# Of mel frames, 100 a second: whole up to 30 s, then 10 s each at most.
_WHOLE_FRAMES, _BLOCK_FRAMES = 3000, 1000
# How many frames a step reads before and after its own, beyond one step's worth.
_REACH_FRAMES = 5


def over_time(
    graph: Graph, log_mel: str, frames_per_step: int, width: int, write: Callable[[str], str]
) -> str:
    """A long log-mel's front end in blocks of time, each with as much of its neighbours as the
    convolutions reach.

    Args:
        graph: where to write.
        log_mel: (batch, mels, frames).
        frames_per_step: how many frames become a step.
        width: of the answer.
        write: writes the front end, (batch, mels, frames) to (batch, steps, width).
    """
    per_step, none = graph.constant([frames_per_step]), graph.constant([0])
    frames = graph.op("Shape", log_mel, start=2, end=3)
    halo = graph.constant([-(-(frames_per_step + _REACH_FRAMES) // frames_per_step)])

    def block(start: str, stop: str) -> str:
        first = graph.op("Max", graph.op("Sub", start, halo), none)
        end = graph.op("Mul", graph.op("Add", stop, halo), per_step)
        piece = sliced(graph, log_mel, graph.op("Mul", first, per_step), end, 2)
        own = graph.op("Sub", start, first), graph.op("Sub", stop, first)
        return sliced(graph, write(piece), *own, 1)

    blocks = Blocks(_WHOLE_FRAMES // frames_per_step, _BLOCK_FRAMES // frames_per_step)
    steps, empty = (
        rounded_up(graph, frames, per_step),
        nothing(graph, graph.op("Shape", log_mel, end=1), 0, width),
    )
    x = in_blocks(graph, blocks, steps, empty, 1, block)
    # What a Loop gives has any shape, as far as ONNX knows.
    return graph.op("Reshape", x, graph.constant([0, 0, width]))


def front_end(graph: Graph, module: Conv2dSubsampling, log_mel: str, winograd: bool) -> str:
    """(batch, mels, frames) -> (batch, steps, width)."""
    first, second = cast(list[Res2dModule], module.conv)
    matrix, bias = linear(module.linear)
    with graph.scope("front_end"):
        if winograd:
            x = residual_blocks(graph, first, second, log_mel)
            # Its columns are (bands * channels), the reference's (channels * bands).
            matrix = matrix.reshape(second.conv2.out_channels, -1, len(bias))
            matrix = matrix.swapaxes(0, 1).reshape(-1, len(bias))
        else:
            x = _direct(graph, first, second, log_mel)
        return graph.linear("linear", matrix, bias, x)


def _direct(graph: Graph, first: Res2dModule, second: Res2dModule, log_mel: str) -> str:
    """(batch, mels, frames) -> (batch, steps, channels * bands)."""
    with graph.scope("block_0"):
        image = graph.op("Unsqueeze", log_mel, graph.constant([1]))
        x = _residual_block(graph, first, image)
    with graph.scope("block_1"):
        x = _residual_block(graph, second, x)
    x = graph.op("Transpose", x, perm=[0, 3, 1, 2])
    return graph.op("Reshape", x, graph.constant([0, 0, -1]))


def _residual_block(graph: Graph, block: Res2dModule, x: str) -> str:
    strides = list(block.conv1.stride)
    first = fold_batch_norm(block.conv1, block.bn1)
    second = fold_batch_norm(block.conv2, block.bn2)
    shortcut = fold_batch_norm(block.conv3, block.bn3)
    inner = graph.op("Relu", graph.direct_convolution("conv1", *first, x, strides))
    inner = graph.direct_convolution("conv2", *second, inner, [1, 1])
    outer = graph.direct_convolution("conv3", *shortcut, x, strides)
    return graph.op("Relu", graph.op("Add", inner, outer))


def log_mel(graph: Graph, module: LogMel, waveform: str) -> str:
    """(batch, samples) -> (batch, mels, frames); the model needs ``log_mel_function``."""
    tables = graph.weight("log_mel.tables", log_mel_tables.tables())
    scale = {"mean_db": module.mean_db, "std_db": module.std_db}
    return graph.op(NAME, waveform, tables, domain=DOMAIN, **scale, **PLUGIN)
