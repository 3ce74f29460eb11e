"""Functions that ONNX has no operator for in this operator set."""

import math

import numpy as np
from torch import nn

from ..folding import linear
from ..writer import Graph

# As torch.nn.functional.normalize has it: vectors of zeros stay zeros.
_SHORTEST = 1e-12


def gelu(graph: Graph, x: str) -> str:
    """x * Phi(x), exact; in the form in which ONNX Runtime recognises it."""
    turned = graph.op("Erf", graph.op("Div", x, graph.constant(math.sqrt(2), np.float32)))
    doubled = graph.op("Mul", x, graph.op("Add", turned, graph.constant(1, np.float32)))
    return graph.op("Mul", doubled, graph.constant(0.5, np.float32))


def l2_normalized(graph: Graph, x: str) -> str:
    """Every vector of (..., width) divided by its length."""
    length = graph.op("ReduceL2", x, graph.constant([-1]), keepdims=1)
    return graph.op("Div", x, graph.op("Max", length, graph.constant(_SHORTEST, np.float32)))


def latents(graph: Graph, module: nn.Linear, x: str) -> str:
    """(batch, width) -> (batch, dim_latent), of length one."""
    return l2_normalized(graph, graph.linear("to_latents", *linear(module), x))
