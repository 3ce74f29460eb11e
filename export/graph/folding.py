"""Exact restructuring of weights: the same function with fewer operations.

Everything is computed in float64 and rounded once, when the graph stores it.
"""

import numpy as np
from torch import Tensor, nn


def array(tensor: Tensor | None) -> np.ndarray:
    """Convert a weight to float64."""
    assert tensor is not None  # optional in torch's types, always there in a MuQ
    return tensor.detach().double().cpu().numpy()


def fold_batch_norm(
    convolution: nn.Conv1d | nn.Conv2d, norm: nn.BatchNorm1d | nn.BatchNorm2d
) -> tuple[np.ndarray, np.ndarray]:
    """Fold a batch norm into the convolution before it; returns kernel and bias."""
    scale = array(norm.weight) / np.sqrt(array(norm.running_var) + norm.eps)
    kernel = array(convolution.weight)
    bias = 0.0 if convolution.bias is None else array(convolution.bias)
    folded = kernel * scale.reshape(-1, *[1] * (kernel.ndim - 1))
    return folded, (bias - array(norm.running_mean)) * scale + array(norm.bias)


def linear(module: nn.Linear, scale: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Matrix (in, out) and bias (out,) of a linear layer whose output is scaled."""
    return array(module.weight).T * scale, array(module.bias) * scale
