"""The conformer encoder for PyTorch, as it is deployed.

Matrices and convolutions have the artefact's precision; the residual stream, the norms, the
rotation and the positions are fp32.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Positions = tuple[Tensor, Tensor]  # cosines and sines, (steps, 1, head_width / 2) each
_HAS_ONEDNN = torch.backends.mkldnn.is_available()


class FeedForward(nn.Module):
    """Norm, linear, SiLU, linear; the conformer's half step is in the last weights."""

    def __init__(self, width: int, inner: int, dtype: torch.dtype) -> None:
        super().__init__()
        self._dtype = dtype
        self.norm = nn.LayerNorm(width)
        self.intermediate_dense = Linear(width, inner, dtype=dtype)
        self.output_dense = Linear(inner, width, dtype=dtype)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, steps, width) float32 -> what is added to it."""
        x = self.intermediate_dense(self.norm(x).to(self._dtype))
        return self.output_dense(F.silu(x, inplace=True))


class Attention(nn.Module):
    """Queries and keys of the rotated input in one product, the score's scale in their weights."""

    def __init__(self, width: int, heads: int, dtype: torch.dtype) -> None:
        super().__init__()
        self._dtype, self._head_width = dtype, width // heads
        self.norm = nn.LayerNorm(width)
        self.query_and_key = Linear(width, 2 * width, dtype=dtype)
        self.value = Linear(width, width, dtype=dtype)
        self.output = Linear(width, width, dtype=dtype)

    def forward(self, x: Tensor, positions: Positions, bias: Tensor | None) -> Tensor:
        """(batch, steps, width) float32 -> what is added to it."""
        x = self.norm(x)
        rotated = self._rotated(x, positions).to(self._dtype)
        query, key = self._by_head(self.query_and_key(rotated)).chunk(2, dim=1)
        value = self._by_head(self.value(x.to(self._dtype)))
        mask = None if bias is None else bias.to(self._dtype)
        mixed = F.scaled_dot_product_attention(query, key, value, mask, scale=1.0)
        return self.output(mixed.transpose(1, 2).flatten(2))

    def _by_head(self, x: Tensor) -> Tensor:
        """(batch, steps, heads * head_width) -> (batch, heads, steps, head_width)."""
        return x.unflatten(-1, (-1, self._head_width)).transpose(1, 2)

    def _rotated(self, x: Tensor, positions: Positions) -> Tensor:
        """Turn each head's pairs (i, i + head_width / 2) by their position's angle."""
        cosines, sines = positions
        first, second = x.unflatten(-1, (-1, self._head_width)).chunk(2, dim=-1)
        real = first * cosines - second * sines
        imaginary = second * cosines + first * sines
        return torch.cat((real, imaginary), dim=-1).flatten(2)


class ConvolutionModule(nn.Module):
    """Norm, pointwise, GLU, depthwise with its batch norm folded, SiLU, pointwise."""

    def __init__(self, width: int, kernel: int, dtype: torch.dtype) -> None:
        super().__init__()
        self._dtype = dtype
        self.norm = nn.LayerNorm(width)
        self.pointwise_conv1 = Linear(width, 2 * width, bias=False, dtype=dtype)
        self.depthwise_conv = nn.Conv2d(
            width, width, (1, kernel), padding=(0, kernel // 2), groups=width, dtype=dtype
        )
        self.pointwise_conv2 = Linear(width, width, bias=False, dtype=dtype)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, steps, width) float32 -> what is added to it."""
        x = F.glu(self.pointwise_conv1(self.norm(x).to(self._dtype)), dim=-1)
        # As an image of height 1, channels last, its memory is already in order.
        x = F.silu(self.depthwise_conv(x.transpose(1, 2).unsqueeze(2)), inplace=True)
        return self.pointwise_conv2(x.squeeze(2).transpose(1, 2))


class ConformerLayer(nn.Module):
    """Half feed-forward, attention, convolution, half feed-forward, norm (arXiv 2005.08100)."""

    def __init__(self, width: int, heads: int, inner: int, kernel: int, dtype: torch.dtype) -> None:
        super().__init__()
        self.ffn1 = FeedForward(width, inner, dtype)
        self.attention = Attention(width, heads, dtype)
        self.convolution = ConvolutionModule(width, kernel, dtype)
        self.ffn2 = FeedForward(width, inner, dtype)
        self.norm = nn.LayerNorm(width)

    def forward(self, x: Tensor, positions: Positions, bias: Tensor | None = None) -> Tensor:
        """(batch, steps, width) float32 -> the same shape."""
        x = x + self.ffn1(x)
        x += self.attention(x, positions, bias)
        x += self.convolution(x)
        x += self.ffn2(x)
        return self.norm(x)


class Encoder(nn.Module):
    """The layers up to the deployed level, and the model's last norm where that is the deepest.

    Args:
        layers: how many.
        width, heads, inner, kernel: of each layer.
        norm_eps: of the last norm; None where there is none.
        dtype: of matrices and convolutions.
    """

    inverse_frequencies: Tensor

    def __init__(
        self,
        layers: int,
        width: int,
        heads: int,
        inner: int,
        kernel: int,
        norm_eps: float | None,
        dtype: torch.dtype,
    ) -> None:
        super().__init__()
        self.register_buffer("inverse_frequencies", torch.empty(width // heads // 2))
        self.layers = nn.ModuleList(
            ConformerLayer(width, heads, inner, kernel, dtype) for _ in range(layers)
        )
        self.norm = nn.LayerNorm(width, eps=norm_eps) if norm_eps is not None else None

    def forward(
        self, frames: Tensor, level: int, first: int = 0, bias: Tensor | None = None
    ) -> list[Tensor]:
        """Hidden states ``first`` to ``level``, (batch, steps, width) float32 each.

        Args:
            frames: the first of them.
            level, first: which they are.
            bias: (batch, 1, 1, steps) float32, added to the scores for each step attended to.
        """
        time = torch.arange(frames.shape[1], device=frames.device, dtype=torch.float32)
        angles = torch.outer(time, self.inverse_frequencies)[:, None]
        positions = angles.cos(), angles.sin()
        states = [frames]
        for layer in self.layers[first:level]:
            states.append(layer(states[-1], positions, bias))
        if self.norm is not None and first < level == len(self.layers):
            states[-1] = self.norm(states[-1])
        return states


class Linear(nn.Linear):
    """On a CPU fp32 goes through oneDNN, as PyTorch's other precisions do.

    PyTorch's own choice for fp32 is MKL, which takes 2.3 times as long on an AMD EPYC (Zen 5).
    """

    def forward(self, x: Tensor) -> Tensor:
        """(..., in) -> (..., out)."""
        on_cpu = x.device.type == "cpu" and x.dtype == torch.float32
        # torch.compile takes this operator only with weights that it has packed itself.
        if _HAS_ONEDNN and on_cpu and not torch.compiler.is_compiling():
            return torch.ops.mkldnn._linear_pointwise(x, self.weight, self.bias, "none", [], "")
        return super().forward(x)
