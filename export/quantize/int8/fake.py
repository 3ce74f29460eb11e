"""Imitate int8 arithmetic in PyTorch at chosen sites of a model."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager

import numpy as np
import torch
from torch import Tensor

from . import weights
from .calibration import Range
from .sites import FRONT_END, Product, Site, Watched, in_front_end


@contextmanager
def quantized(
    chosen: Sequence[Site], watched: Mapping[str, Watched], ranges: Mapping[str, Range]
) -> Iterator[None]:
    """Round the chosen sites' weights and activations inside the block."""
    products = [(site, product) for site in chosen for product in site.products]
    with ExitStack() as stack:
        for site, product in products:
            stack.callback(setattr, product.weight, "data", product.weight.data)
            product.weight.data = _rounded(product, ranges.get(site.name))
        for name in _activations(chosen, watched):
            for module in watched[name].modules:
                stack.callback(watched[name].hook(module, ranges[name].quantized).remove)
        yield


def _activations(chosen: Sequence[Site], watched: Mapping[str, Watched]) -> Iterator[str]:
    for site in chosen:
        if site.name == FRONT_END:
            yield from filter(in_front_end, watched)
        else:
            yield site.name


def _rounded(product: Product, found: Range | None) -> Tensor:
    """The weights as bytes hold them, with the input's channels divided by those of its range."""
    matrix = product.weight.data.numpy()
    channels = np.ones(1, np.float32) if found is None or found.channels is None else found.channels
    columns = channels.reshape(1, -1, *[1] * (matrix.ndim - 2))
    codes, scales = weights.quantized(matrix * columns)
    return torch.from_numpy(codes * scales.reshape(-1, *[1] * (codes.ndim - 1)) / columns)
