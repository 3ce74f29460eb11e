"""XLM-RoBERTa: tokens to hidden states (Conneau et al. 2019, arXiv 1911.02116).

Names of weights are those of ``XLMRobertaModel`` in Hugging Face's transformers.
"""

import math
from dataclasses import dataclass
from typing import Literal

from pydantic import PositiveFloat, PositiveInt
from torch import Tensor, nn

from ...errors import CheckpointError
from .config import Probability


@dataclass(frozen=True)
class XLMRobertaConfig:
    """What an encoder needs of transformers' ``config.json``, with the defaults of its class.

    The special tokens have to be where every tokenizer of XLM-RoBERTa has them.
    """

    model_type: Literal["xlm-roberta"]
    vocab_size: PositiveInt = 30_522
    hidden_size: PositiveInt = 768
    num_hidden_layers: PositiveInt = 12
    num_attention_heads: PositiveInt = 12
    intermediate_size: PositiveInt = 3072
    hidden_act: Literal["gelu"] = "gelu"
    hidden_dropout_prob: Probability = 0.1
    attention_probs_dropout_prob: Probability = 0.1
    max_position_embeddings: PositiveInt = 512
    type_vocab_size: PositiveInt = 2
    layer_norm_eps: PositiveFloat = 1e-12
    bos_token_id: Literal[0] = 0
    pad_token_id: Literal[1] = 1
    eos_token_id: Literal[2] = 2
    position_embedding_type: Literal["absolute"] = "absolute"

    def __post_init__(self) -> None:
        if self.hidden_size % self.num_attention_heads:
            raise CheckpointError(
                f"config: hidden_size {self.hidden_size} does not divide into "
                f"{self.num_attention_heads} heads."
            )
        if self.vocab_size <= self.eos_token_id or self.max_tokens < 2:
            raise CheckpointError(
                f"config: a vocabulary of {self.vocab_size} and {self.max_position_embeddings} "
                "positions are too few for any text."
            )

    @property
    def max_tokens(self) -> int:
        """The longest text, in tokens, first and last included; positions follow the padding's."""
        return self.max_position_embeddings - self.pad_token_id - 1


class Embeddings(nn.Module):
    """Sum of a token's, its position's and its type's vectors, normalised; all types are 0."""

    def __init__(self, config: XLMRobertaConfig) -> None:
        super().__init__()
        width, self.padding = config.hidden_size, config.pad_token_id
        self.word_embeddings = nn.Embedding(config.vocab_size, width, self.padding)
        self.position_embeddings = nn.Embedding(config.max_position_embeddings, width, self.padding)
        self.token_type_embeddings = nn.Embedding(config.type_vocab_size, width)
        self.LayerNorm = nn.LayerNorm(width, eps=config.layer_norm_eps)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)

    def forward(self, ids: Tensor) -> Tensor:
        """(batch, tokens) -> (batch, tokens, width)."""
        real = (ids != self.padding).long()
        positions = real.cumsum(1) * real + self.padding  # padding is not counted
        x = self.word_embeddings(ids) + self.position_embeddings(positions)
        return self.dropout(self.LayerNorm(x + self.token_type_embeddings.weight[0]))


class SelfAttention(nn.Module):
    """Multi-head attention up to the output's projection."""

    def __init__(self, config: XLMRobertaConfig) -> None:
        super().__init__()
        width = config.hidden_size
        self.heads = config.num_attention_heads
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width)
        self.value = nn.Linear(width, width)
        self.dropout = nn.Dropout(config.attention_probs_dropout_prob)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """(batch, tokens, width) -> the same shape; no attention where ``mask`` is False."""
        query, key, value = (
            part(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for part in (self.query, self.key, self.value)
        )
        scores = query @ key.transpose(-2, -1) / math.sqrt(query.shape[-1])
        scores = scores.masked_fill(~mask[:, None, None], float("-inf"))
        mixed = self.dropout(scores.softmax(dim=-1)) @ value
        return mixed.transpose(1, 2).flatten(2)


class ResidualOutput(nn.Module):
    """Linear, added to the residual, then normalised."""

    def __init__(self, inputs: int, config: XLMRobertaConfig) -> None:
        super().__init__()
        self.dense = nn.Linear(inputs, config.hidden_size)
        self.LayerNorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)

    def forward(self, x: Tensor, residual: Tensor) -> Tensor:
        """(batch, tokens, inputs) and (batch, tokens, width) -> the latter's shape."""
        return self.LayerNorm(self.dropout(self.dense(x)) + residual)


class Layer(nn.Module):
    """Attention and feed-forward, each followed by its norm."""

    def __init__(self, config: XLMRobertaConfig) -> None:
        super().__init__()
        width, inner = config.hidden_size, config.intermediate_size
        self.attention = nn.ModuleDict(
            {"self": SelfAttention(config), "output": ResidualOutput(width, config)}
        )
        self.intermediate = nn.ModuleDict({"dense": nn.Linear(width, inner)})
        self.output = ResidualOutput(inner, config)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """(batch, tokens, width) -> the same shape."""
        x = self.attention["output"](self.attention["self"](x, mask), x)
        return self.output(nn.functional.gelu(self.intermediate["dense"](x)), x)


class XLMRoberta(nn.Module):
    """The encoder."""

    def __init__(self, config: XLMRobertaConfig) -> None:
        super().__init__()
        self.config = config
        width = config.hidden_size
        self.embeddings = Embeddings(config)
        self.encoder = nn.ModuleDict(
            {"layer": nn.ModuleList(Layer(config) for _ in range(config.num_hidden_layers))}
        )
        # Never called; in every official checkpoint.
        self.pooler = nn.ModuleDict({"dense": nn.Linear(width, width)})

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """The last hidden state.

        Args:
            ids: (batch, tokens) integers, ``config.max_tokens`` at most.
            mask: (batch, tokens) bool, False where a token is padding.

        Returns:
            (batch, tokens, width); what it has at padding is of no use.
        """
        x = self.embeddings(ids)
        layers: nn.ModuleList = self.encoder["layer"]  # type: ignore[assignment]
        for layer in layers:
            x = layer(x, mask)
        return x
