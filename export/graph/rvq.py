"""An RVQ as ONNX operators: log-mel or hidden state in, tokens out."""

import numpy as np
from onnx import FunctionProto, TensorProto
from torch import nn

from ...kernels.mel_rvq import contract as mel_rvq
from ...kernels.mel_rvq.onnx import NAME, mel_rvq_function
from ...kernels.onnx_nodes import DOMAIN, PLUGIN
from ...reference.rvq import VectorQuantize, WeightNormConv1d
from ..sources.rvq import TokenRvq
from .folding import array
from .writer import OPSET, Graph


def tokens(graph: Graph, rvq: TokenRvq, log_mel: str, states: list[str]) -> str:
    """Tokens (batch, stages, steps) int32 of log_mel (batch, mels, frames), or of the level of
    ``states``, (batch, steps, width) each, that the RVQ quantizes."""
    level = rvq.record.level
    with graph.scope("rvq"):
        x = log_mel if level is None else graph.op("Transpose", states[level], perm=[0, 2, 1])
        # Nothing can be folded through the ReLUs of projections with several layers.
        return _folded(graph, rvq, x) if is_linear(rvq) else _plain(graph, rvq, x)


def functions(rvq: TokenRvq) -> list[FunctionProto]:
    """The local functions that ``tokens`` calls."""
    if not is_linear(rvq):
        return []
    first = rvq.rvq.stages[0].codebook
    shape = (len(rvq.rvq.stages), first.num_embeddings, first.embedding_dim)
    return [mel_rvq_function(OPSET, *shape)]


def is_linear(rvq: TokenRvq) -> bool:
    """Whether its projections are single layers, so that its tables can be folded."""
    return isinstance(rvq.rvq.stages[0].in_proj, WeightNormConv1d)


def folded_tables(rvq: TokenRvq) -> mel_rvq.MelRvqTables:
    """Fold an RVQ with linear projections, and its input's scale and shift, into tables."""
    return mel_rvq.tables([_stage(stage, rvq.scale, rvq.shift) for stage in rvq.rvq.stages])


def _folded(graph: Graph, rvq: TokenRvq, x: str) -> str:
    """One call of ``muqrt::MelRvq``."""
    tables = folded_tables(rvq)
    inputs = [graph.weight(name, value) for name, value in vars(tables).items()]
    return graph.op(NAME, x, *inputs, domain=DOMAIN, frames_per_step=rvq.frames_per_step, **PLUGIN)


def _stage(stage: VectorQuantize, scale: float, shift: float) -> mel_rvq.Stage:
    """A stage of an RVQ of scale * x + shift, as one of an RVQ of x."""
    down, down_bias = _matrix(stage.in_proj)
    up, up_bias = _matrix(stage.out_proj)
    return mel_rvq.Stage(
        down=scale * down,
        down_bias=down_bias + shift * down.sum(axis=1),
        codes=array(stage.codebook.weight),
        up=up / scale,
        up_bias=up_bias / scale,
    )


def _plain(graph: Graph, rvq: TokenRvq, x: str) -> str:
    """Stage by stage, as the reference does it."""
    residual = _stacked(graph, x, rvq)
    residual = graph.op("Mul", residual, graph.constant(rvq.scale, np.float32))
    residual = graph.op("Add", residual, graph.constant(rvq.shift, np.float32))
    found = []
    for index, stage in enumerate(rvq.rvq.stages):
        with graph.scope(f"stage_{index}"):
            codes = array(stage.codebook.weight)
            # A latent's length does not change which code is nearest.
            unit = codes / np.maximum(np.linalg.norm(codes, axis=1, keepdims=True), 1e-12)
            latent = _projected(graph, "in_proj", stage.in_proj, residual)
            similarity = graph.op("MatMul", latent, graph.weight("unit_codes", unit.T))
            token = graph.op("ArgMax", similarity, axis=-1, keepdims=0)
            found.append(graph.op("Unsqueeze", token, graph.constant([1])))
            if stage is not rvq.rvq.stages[-1]:
                code = graph.op("Gather", graph.weight("codes", codes), token)
                taken = _projected(graph, "out_proj", stage.out_proj, code)
                residual = graph.op("Sub", residual, taken)
    return graph.op("Cast", graph.op("Concat", *found, axis=1), to=TensorProto.INT32)


def _stacked(graph: Graph, x: str, rvq: TokenRvq) -> str:
    """(batch, mels, frames) -> (batch, steps, frames_per_step * mels), whole steps only."""
    (first, *_) = _layers(rvq.rvq.stages[0].in_proj)
    assert isinstance(first, WeightNormConv1d)
    width, frames_per_step = first.weight.shape[1], graph.constant([rvq.frames_per_step])
    frames = graph.op("Shape", x, start=2)
    whole = graph.op("Mul", graph.op("Div", frames, frames_per_step), frames_per_step)
    x = graph.op("Slice", x, graph.constant([0]), whole, graph.constant([2]))
    mels = width // rvq.frames_per_step
    x = graph.op("Reshape", x, graph.constant([0, mels, -1, rvq.frames_per_step]))
    x = graph.op("Transpose", x, perm=[0, 2, 3, 1])
    return graph.op("Reshape", x, graph.constant([0, -1, width]))


def _projected(graph: Graph, name: str, projection: nn.Module, x: str) -> str:
    """Linear layers with ReLUs between, on (batch, steps, width)."""
    for layer in _layers(projection):
        if isinstance(layer, WeightNormConv1d):
            matrix, bias = _matrix(layer)
            x = graph.linear(name, matrix.T, bias, x)
        else:
            x = graph.op("Relu", x)
    return x


def _layers(projection: nn.Module) -> list[nn.Module]:
    """In the order in which they are applied, however they are nested."""
    return [each for each in projection.modules() if not isinstance(each, nn.Sequential)]


def _matrix(layer: nn.Module) -> tuple[np.ndarray, np.ndarray]:
    """(out, in) and bias (out,)."""
    assert isinstance(layer, WeightNormConv1d)
    return array(layer.weight)[:, :, 0], array(layer.bias)
