"""The conformer encoder: Wav2Vec2Conformer with rotary positions, names as upstream's."""

import math

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from .config import ConformerConfig


class RotaryPositions(nn.Module):
    """Cosines and sines of the rotary embedding."""

    inv_freq: Tensor

    def __init__(self, head_width: int, base: float) -> None:
        super().__init__()
        exponents = torch.arange(0, head_width, 2, dtype=torch.int64).float() / head_width
        self.register_buffer("inv_freq", 1.0 / (base**exponents))

    def forward(self, steps: int) -> tuple[Tensor, Tensor]:
        """Two (steps, 1, head_width) tensors."""
        time = torch.arange(steps, device=self.inv_freq.device).type_as(self.inv_freq)
        angles = torch.outer(time, self.inv_freq).repeat(1, 2)[:, None]
        return angles.cos(), angles.sin()


class PositionalConvolution(nn.Module):
    """Present in official checkpoints and never used by the rotary encoder; kept for its names."""

    def __init__(self, width: int, config: ConformerConfig) -> None:
        super().__init__()
        convolution = nn.Conv1d(
            width,
            width,
            kernel_size=config.num_conv_pos_embeddings,
            padding=config.num_conv_pos_embeddings // 2,
            groups=config.num_conv_pos_embedding_groups,
        )
        self.conv = weight_norm(convolution, name="weight", dim=2)


class FeedForward(nn.Module):
    """Linear, SiLU, linear."""

    def __init__(self, width: int, config: ConformerConfig) -> None:
        super().__init__()
        self.intermediate_dense = nn.Linear(width, config.intermediate_size)
        self.intermediate_act_fn = nn.SiLU()
        self.intermediate_dropout = nn.Dropout(config.activation_dropout)
        self.output_dense = nn.Linear(config.intermediate_size, width)
        self.output_dropout = nn.Dropout(config.hidden_dropout)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, steps, width) -> the same shape."""
        x = self.intermediate_dropout(self.intermediate_act_fn(self.intermediate_dense(x)))
        return self.output_dropout(self.output_dense(x))


class ConvolutionModule(nn.Module):
    """Pointwise, GLU, depthwise, batch norm, SiLU, pointwise."""

    def __init__(self, width: int, config: ConformerConfig) -> None:
        super().__init__()
        kernel = config.conv_depthwise_kernel_size
        self.layer_norm = nn.LayerNorm(width)
        self.pointwise_conv1 = nn.Conv1d(width, 2 * width, 1, bias=False)
        self.glu = nn.GLU(dim=1)
        self.depthwise_conv = nn.Conv1d(
            width, width, kernel, padding=(kernel - 1) // 2, groups=width, bias=False
        )
        self.batch_norm = nn.BatchNorm1d(width)
        self.activation = nn.SiLU()
        self.pointwise_conv2 = nn.Conv1d(width, width, 1, bias=False)
        self.dropout = nn.Dropout(config.conformer_conv_dropout)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, steps, width) -> the same shape."""
        x = self.glu(self.pointwise_conv1(self.layer_norm(x).transpose(1, 2)))
        x = self.activation(self.batch_norm(self.depthwise_conv(x)))
        return self.dropout(self.pointwise_conv2(x)).transpose(1, 2)


class SelfAttention(nn.Module):
    """Multi-head attention; the rotation is applied BEFORE the query and key projections."""

    def __init__(self, width: int, config: ConformerConfig) -> None:
        super().__init__()
        self.heads = config.num_attention_heads
        self.linear_q = nn.Linear(width, width)
        self.linear_k = nn.Linear(width, width)
        self.linear_v = nn.Linear(width, width)
        self.linear_out = nn.Linear(width, width)
        self.dropout = nn.Dropout(config.attention_dropout)

    def forward(self, x: Tensor, positions: tuple[Tensor, Tensor], bias: Tensor | None) -> Tensor:
        """(batch, steps, width) -> the same shape; ``bias`` is added to the scores."""
        rotated = self._rotate(x, *positions)
        query = self._split(self.linear_q(rotated))
        key = self._split(self.linear_k(rotated))
        value = self._split(self.linear_v(x))
        scores = torch.matmul(query, key.transpose(-2, -1)) / math.sqrt(query.shape[-1])
        if bias is not None:
            scores = scores + bias
        mixed = torch.matmul(self.dropout(torch.softmax(scores, dim=-1)), value)
        return self.linear_out(mixed.transpose(1, 2).flatten(2))

    def _split(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)

    def _rotate(self, x: Tensor, cosines: Tensor, sines: Tensor) -> Tensor:
        heads = x.unflatten(-1, (self.heads, -1))
        first, second = heads.chunk(2, dim=-1)
        turned = torch.cat((-second, first), dim=-1)
        return (heads * cosines + turned * sines).flatten(2)


class ConformerLayer(nn.Module):
    """Half feed-forward, attention, convolution, half feed-forward, norm (arXiv 2005.08100)."""

    def __init__(self, width: int, config: ConformerConfig) -> None:
        super().__init__()
        self.ffn1_layer_norm = nn.LayerNorm(width)
        self.ffn1 = FeedForward(width, config)
        self.self_attn_layer_norm = nn.LayerNorm(width)
        self.self_attn_dropout = nn.Dropout(config.attention_dropout)
        self.self_attn = SelfAttention(width, config)
        self.conv_module = ConvolutionModule(width, config)
        self.ffn2_layer_norm = nn.LayerNorm(width)
        self.ffn2 = FeedForward(width, config)
        self.final_layer_norm = nn.LayerNorm(width)

    def forward(self, x: Tensor, positions: tuple[Tensor, Tensor], bias: Tensor | None) -> Tensor:
        """(batch, steps, width) -> the same shape."""
        x = x + 0.5 * self.ffn1(self.ffn1_layer_norm(x))
        attended = self.self_attn(self.self_attn_layer_norm(x), positions, bias)
        x = x + self.self_attn_dropout(attended)
        x = x + self.conv_module(x)
        x = x + 0.5 * self.ffn2(self.ffn2_layer_norm(x))
        return self.final_layer_norm(x)


class ConformerEncoder(nn.Module):
    """The stack of layers and the final norm."""

    def __init__(self, width: int, depth: int, config: ConformerConfig) -> None:
        super().__init__()
        self.layerdrop = config.layerdrop
        self.embed_positions = RotaryPositions(
            width // config.num_attention_heads, config.rotary_embedding_base
        )
        self.pos_conv_embed = PositionalConvolution(width, config)
        self.layer_norm = nn.LayerNorm(width, eps=config.layer_norm_eps)
        self.dropout = nn.Dropout(config.hidden_dropout)
        self.layers = nn.ModuleList(ConformerLayer(width, config) for _ in range(depth))

    def forward(self, x: Tensor, mask: Tensor | None = None) -> tuple[Tensor, ...]:
        """All hidden states, the input first and the normalised output last.

        Args:
            x: (batch, steps, width).
            mask: (batch, steps) bool, False where a step is padding: it is set to zero at the
                input and no step attends to it.
        """
        bias = None
        if mask is not None:
            x = x.masked_fill(~mask[..., None], 0.0)
            bias = (1.0 - mask[:, None, None, :].to(x.dtype)) * torch.finfo(x.dtype).min
        x = self.dropout(x)
        positions = self.embed_positions(x.shape[1])
        states = []
        for layer in self.layers:
            states.append(x)
            if not (self.training and torch.rand(()) < self.layerdrop):
                x = layer(x, positions, bias)
        return (*states, self.layer_norm(x))
