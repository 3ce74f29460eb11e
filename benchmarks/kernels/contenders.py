"""Who computes log-mels and tokens: PyTorch as the official package does it, and muqrt's ways."""

from collections.abc import Callable
from dataclasses import dataclass

import onnx
import onnxruntime as ort
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...export.graph import OPSET, Graph
from ...export.onnx_from_checkpoint import INPUT
from ...export.rvq import folded_tables, functions, tokens
from ...export.tokens import TokenRvq
from ...kernels.log_mel_onnx import NAME, log_mel_function
from ...kernels.log_mel_tables import tables as log_mel_tables
from ...kernels.log_mel_torch import log_mel
from ...kernels.mel_rvq_torch import MelRvq
from ...kernels.onnx_nodes import DOMAIN
from ...reference.mel import LogMel
from ...reference.rvq import ResidualVectorQuantize, WeightNormConv1d, stacked
from ...runtime.bundle import TensorSpec
from ..contenders import COMPILED, EAGER

ONNX = "ONNX Runtime"
FUSED = "fused kernel"
_LOG_MEL = TensorSpec(name="log_mel", dtype="float32", shape=["batch", 128, "frames"])


@dataclass(frozen=True)
class Contender:
    """One way of computing an operation; ``run`` takes and returns tensors of the device."""

    name: str
    run: Callable[[Tensor], Tensor]


class EagerRvq(nn.Module):
    """The tokenizer by width-1 convolutions and squared distances, as the official package has it,
    without its losses. Linear projections only."""

    def __init__(self, rvq: ResidualVectorQuantize, frames_per_step: int) -> None:
        super().__init__()
        self.rvq = rvq
        self.frames_per_step = frames_per_step

    def forward(self, log_mel: Tensor) -> Tensor:
        """(batch, mels, frames) -> tokens (batch, stages, steps)."""
        residual = stacked(log_mel, self.frames_per_step)
        found = []
        for stage in self.rvq.stages:
            down, up = stage.in_proj, stage.out_proj
            assert isinstance(down, WeightNormConv1d) and isinstance(up, WeightNormConv1d)
            latent = F.conv1d(residual, down.weight, down.bias)
            flat = F.normalize(latent.transpose(1, 2).flatten(0, 1))
            codes = F.normalize(stage.codebook.weight)
            squares = flat.square().sum(1, keepdim=True) + codes.square().sum(1)
            nearest = (2 * flat @ codes.T - squares).max(1).indices
            found.append(nearest.view(len(residual), -1))
            code = stage.codebook(found[-1]).transpose(1, 2)
            residual = residual - F.conv1d(code, up.weight, up.bias)
        return torch.stack(found, 1)


def log_mel_contender(reference: LogMel, device: str, threads: int) -> Contender:
    """muqrt's: on "cuda" the fused kernel, on "cpu" the graph's function."""
    mean_db, std_db = reference.mean_db, reference.std_db
    if device == "cuda":
        return Contender(FUSED, lambda x: log_mel(x, mean_db, std_db, torch.float32))
    graph = Graph()
    constants = graph.weight("tables", log_mel_tables())
    scale = {"mean_db": mean_db, "std_db": std_db}
    graph.rename(graph.op(NAME, "waveform", constants, domain=DOMAIN, **scale), "log_mel")
    model = graph.model([INPUT], [_LOG_MEL], [log_mel_function(OPSET)])
    return _onnx_contender(model, "waveform", threads)


def mel_rvq_contender(rvq: TokenRvq, device: str, threads: int) -> Contender:
    """muqrt's: on "cuda" the fused kernel, on "cpu" the graph's function."""
    if device == "cuda":
        return Contender(FUSED, MelRvq(folded_tables(rvq), rvq.frames_per_step).to(device))
    graph = Graph()
    graph.rename(tokens(graph, rvq, "log_mel", []), "tokens")
    model = graph.model([_LOG_MEL], [rvq.tokenizer.spec], functions(rvq))
    return _onnx_contender(model, "log_mel", threads)


def torch_contenders(module: nn.Module, compiles: bool) -> list[Contender]:
    """PyTorch eager, and torch.compile of it."""
    if not compiles:
        return [Contender(EAGER, module)]
    # Each shape is compiled for itself, which is the fastest that torch.compile has.
    return [Contender(EAGER, module), Contender(COMPILED, torch.compile(module, dynamic=False))]


def _onnx_contender(model: onnx.ModelProto, name: str, threads: int) -> Contender:
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    session = ort.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return Contender(ONNX, lambda x: torch.from_numpy(session.run(None, {name: x.numpy()})[0]))
