"""The text tower."""

import torch
from torch import Tensor, nn

from .config import MuLanConfig
from .transformer import Transformer
from .xlm_roberta import XLMRoberta, XLMRobertaConfig


class TextTower(nn.Module):
    """XLM-RoBERTa's last hidden state, a linear layer, a transformer, the mean over tokens.

    The linear layer is there only where the two widths differ.
    """

    def __init__(self, config: MuLanConfig, xlm_roberta: XLMRobertaConfig) -> None:
        super().__init__()
        width = config.text_transformer.dim
        self.model = XLMRoberta(xlm_roberta)
        self.transformer = Transformer(config.text_transformer)
        differ = config.text_model.model_dim not in (None, width)
        self.proj = nn.Linear(xlm_roberta.hidden_size, width) if differ else nn.Identity()

    def forward(
        self, ids: Tensor, mask: Tensor | None = None, padding_counts: bool = False
    ) -> Tensor:
        """Texts' tokens to one vector each.

        Args:
            ids: (batch, tokens) integers.
            mask: (batch, tokens), zero where a token is padding; none where none is.
            padding_counts: let padding take part in the transformer and in the mean, as the
                official package does: there a text's embedding depends on the longest text of its
                batch. Otherwise it is that of the text alone, in any batch.

        Returns:
            (batch, width).
        """
        real = torch.ones_like(ids, dtype=torch.bool) if mask is None else mask.bool()
        states = self.proj(self.model(ids, real))
        if padding_counts:
            return self.transformer(states).mean(dim=1)
        states = self.transformer(states, real).masked_fill(~real[..., None], 0.0)
        return states.sum(dim=1) / real.sum(dim=1, keepdim=True)
