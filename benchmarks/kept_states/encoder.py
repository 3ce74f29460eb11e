"""The encoder on a stream's windows, with the states of past steps kept.

A hop costs its own steps alone; an exact window costs all of its steps. This is written plainly, to
measure how far the two are apart, not to be fast.
"""

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor

from ...reference.conformer import (
    ConformerEncoder,
    ConformerLayer,
    ConvolutionModule,
    SelfAttention,
)


class KeptStates:
    """The encoder on one stream's windows, with what every layer holds of past steps.

    A layer keeps what its attention reads, before the rotation, so that keys are made anew at
    their place in each window, and what its depthwise convolution reads.

    Args:
        encoder: the reference's.
    """

    def __init__(self, encoder: ConformerEncoder) -> None:
        self._encoder = encoder
        self._start = self._end = 0
        self._kept: list[Tensor] = []

    def hop(self, start: int, frames: Tensor, refreshed: int | None) -> list[Tensor]:
        """The hidden states of a window, each (steps, width).

        Args:
            start: its first step in the stream, no earlier than the last window's.
            frames: (steps, width), the front end's for this window.
            refreshed: how many steps before the new ones are computed again; None for all.
        """
        first = 0 if refreshed is None else max(0, self._end - refreshed - start)
        moved = start - self._start
        kept = iter([each[moved : moved + first] for each in self._kept])
        held: list[Tensor] = []

        def joined(new: Tensor) -> Tensor:
            """What is kept of the steps before ``first``, and the new ones; kept in its turn."""
            held.append(torch.cat([next(kept), new]) if first else new)
            return held[-1]

        positions = self._encoder.embed_positions(len(frames))
        x = frames[first:]
        states = [joined(x)]
        for layer in cast(list[ConformerLayer], self._encoder.layers):
            x = x + 0.5 * layer.ffn1(layer.ffn1_layer_norm(x))
            attended = joined(layer.self_attn_layer_norm(x))
            x = x + _attention(layer.self_attn, attended, positions, first)
            module = layer.conv_module
            gated = F.glu(module.pointwise_conv1(module.layer_norm(x).T[None]), dim=1)[0].T
            x = x + _convolution(module, joined(gated), first)
            x = x + 0.5 * layer.ffn2(layer.ffn2_layer_norm(x))
            x = layer.final_layer_norm(x)
            states.append(joined(x))
        self._start, self._end, self._kept = start, start + len(frames), held
        return [*states[:-1], self._encoder.layer_norm(states[-1])]


def _attention(
    module: SelfAttention, x: Tensor, positions: tuple[Tensor, Tensor], first: int
) -> Tensor:
    """What the steps from ``first`` on attend to, among all of (steps, width)."""
    rotated = module._rotate(x[None], *positions)
    query = module._split(module.linear_q(rotated[:, first:]))
    key, value = module._split(module.linear_k(rotated)), module._split(module.linear_v(x[None]))
    mixed = F.scaled_dot_product_attention(query, key, value)
    return cast(Tensor, module.linear_out(mixed.transpose(1, 2).flatten(2)))[0]


def _convolution(module: ConvolutionModule, gated: Tensor, first: int) -> Tensor:
    """The convolution module's end, for the steps from ``first`` on of (steps, width)."""
    x = module.activation(module.batch_norm(module.depthwise_conv(gated.T[None])))
    return cast(Tensor, module.pointwise_conv2(x[..., first:]))[0].T
