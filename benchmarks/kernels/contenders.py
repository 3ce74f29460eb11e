"""The contenders: PyTorch as the official package computes log-mels and tokens, and muqrt."""

from collections.abc import Callable
from dataclasses import dataclass

import onnx
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...errors import UsageError
from ...export.graph.rvq import folded_tables, functions, tokens
from ...export.graph.writer import OPSET, Graph
from ...export.onnx_from_checkpoint import INPUT
from ...export.sources.rvq import TokenRvq
from ...kernels.log_mel.onnx import NAME, log_mel_function
from ...kernels.log_mel.tables import tables as log_mel_tables
from ...kernels.log_mel.torch import log_mel
from ...kernels.mel_rvq.torch import MelRvq
from ...kernels.onnx_nodes import DOMAIN
from ...reference.mel import LogMel
from ...reference.rvq import ResidualVectorQuantize, WeightNormConv1d, stacked
from ...runtime.bundle.record import TensorSpec
from ..measure.contenders import COMPILED, onnx_session
from ..measure.timing import EAGER

ONNX = "ONNX Runtime"
FUSED = "fused kernel"
_LOG_MEL = TensorSpec(name="log_mel", dtype="float32", shape=["batch", 128, "frames"])


@dataclass(frozen=True)
class Contender:
    """One way of computing an operation; ``run`` takes and returns tensors on the device."""

    name: str
    run: Callable[[Tensor], Tensor]


class EagerRvq(nn.Module):
    """The tokenizer as the official package's forward computes it: width-1 convolutions, squared
    distances, and always the sum of the codes, the losses and one-hot codes.

    Raises:
        UsageError: the projections have several layers, for which there is no kernel.
    """

    def __init__(self, rvq: ResidualVectorQuantize, frames_per_step: int) -> None:
        super().__init__()
        if not isinstance(rvq.stages[0].in_proj, WeightNormConv1d):
            raise UsageError(
                "this RVQ's projections have several layers, which plain operators compute: there "
                "is no kernel to measure. Choose a checkpoint whose projections have one layer."
            )
        self.rvq = rvq
        self.frames_per_step = frames_per_step

    def forward(self, log_mel: Tensor) -> Tensor:
        """(batch, mels, frames) -> tokens (batch, stages, steps)."""
        residual = stacked(log_mel, self.frames_per_step)
        present = torch.ones(len(residual), 1, 1, dtype=torch.bool, device=residual.device)
        quantized, loss = torch.zeros_like(residual), torch.zeros_like(present, dtype=torch.float32)
        found, latents = [], []
        for stage in self.rvq.stages:
            latents.append(_convolved(stage.in_proj, residual))
            found.append(_nearest(latents[-1], stage.codebook.weight))
            code = stage.codebook(found[-1]).transpose(1, 2)
            for _ in ("commitment", "codebook"):
                loss += F.mse_loss(latents[-1], code, reduction="none").mean((1, 2), keepdim=True)
            taken = _convolved(stage.out_proj, latents[-1] + (code - latents[-1]))
            quantized = quantized + taken * present
            residual = residual - taken
        tokens = torch.stack(found, 1)
        torch.cat(latents, 1)
        F.one_hot(tokens, self.rvq.stages[0].codebook.num_embeddings).float()
        return tokens


def _convolved(projection: nn.Module, x: Tensor) -> Tensor:
    assert isinstance(projection, WeightNormConv1d)
    return F.conv1d(x, projection.weight, projection.bias)


def _nearest(latent: Tensor, codes: Tensor) -> Tensor:
    flat = F.normalize(latent.transpose(1, 2).flatten(0, 1))
    codes = F.normalize(codes)
    distances = flat.square().sum(1, keepdim=True) - 2 * flat @ codes.T + codes.square().sum(1)
    return (-distances).max(1).indices.view(len(latent), -1)


def log_mel_contender(reference: LogMel, device: str, threads: int) -> Contender:
    """muqrt's log-mel: the fused kernel on "cuda", the ONNX function on "cpu"."""
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
    """muqrt's tokenizer: the fused kernel on "cuda", the ONNX functions on "cpu"."""
    if device == "cuda":
        return Contender(FUSED, MelRvq(folded_tables(rvq), rvq.frames_per_step).to(device))
    graph = Graph()
    graph.rename(tokens(graph, rvq, "log_mel", []), "tokens")
    model = graph.model([_LOG_MEL], [rvq.record.spec], functions(rvq))
    return _onnx_contender(model, "log_mel", threads)


def torch_contenders(module: nn.Module, compiles: bool) -> list[Contender]:
    """PyTorch eager, and torch.compile of it."""
    if not compiles:
        return [Contender(EAGER, module)]
    # Each shape is compiled for itself, which is the fastest that torch.compile has.
    return [Contender(EAGER, module), Contender(COMPILED, torch.compile(module, dynamic=False))]


def _onnx_contender(model: onnx.ModelProto, name: str, threads: int) -> Contender:
    session = onnx_session(model.SerializeToString(), threads)
    return Contender(ONNX, lambda x: torch.from_numpy(session.run(None, {name: x.numpy()})[0]))
