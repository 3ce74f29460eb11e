"""An RVQ's weights as a bundle stores them."""

from collections.abc import Iterator

import numpy as np
import torch

from ...reference.rvq import ResidualVectorQuantize, WeightNormConv1d


@torch.inference_mode()
def stored_rvq(rvq: ResidualVectorQuantize) -> Iterator[tuple[str, np.ndarray]]:
    """Names and arrays, as ``runtime.parity.tokens`` reads them below ``rvq/``."""
    for index, stage in enumerate(rvq.stages):
        yield f"rvq/{index}/codebook", stage.codebook.weight.numpy()
        for side, projection in (("in", stage.in_proj), ("out", stage.out_proj)):
            layers = [each for each in projection.modules() if isinstance(each, WeightNormConv1d)]
            for number, layer in enumerate(layers):
                yield f"rvq/{index}/{side}/{number}/weight", layer.weight[:, :, 0].numpy()
                yield f"rvq/{index}/{side}/{number}/bias", layer.bias.numpy()
