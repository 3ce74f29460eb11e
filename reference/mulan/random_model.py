"""MuQ-MuLans with seeded random weights: for tests and benchmarks, before any download."""

import torch
from torch import nn

from ..config import MuQConfig
from ..random_model import LARGE, SMALL, TINY, random_model
from .config import (
    EncoderConfig,
    JointConfig,
    MuLanConfig,
    TextTransformerConfig,
    TransformerConfig,
)
from .model import MuLan
from .transformer import Attention, LayerNorm
from .xlm_roberta import XLMRobertaConfig

XLM_ROBERTA_BASE = XLMRobertaConfig(
    model_type="xlm-roberta",
    vocab_size=250_002,
    max_position_embeddings=514,
    type_vocab_size=1,
    layer_norm_eps=1e-5,
)


def _config(muq: MuQConfig, text_model_dim: int | None, dim: int, **shape: int) -> MuLanConfig:
    return MuLanConfig(
        mulan=JointConfig(dim_latent=512),
        audio_model=EncoderConfig("OpenMuQ/MuQ-large-msd-iter", muq.encoder_dim),
        text_model=EncoderConfig("xlm-roberta-base", text_model_dim),
        audio_transformer=TransformerConfig(dim, **shape),
        text_transformer=TextTransformerConfig(dim, **shape),
    )


def _text_encoder(width: int, layers: int, heads: int, vocabulary: int) -> XLMRobertaConfig:
    return XLMRobertaConfig(
        model_type="xlm-roberta",
        vocab_size=vocabulary,
        hidden_size=width,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        intermediate_size=4 * width,
        max_position_embeddings=514,
        type_vocab_size=1,
        layer_norm_eps=1e-5,
    )


# Of the towers, of the MuQ, of the XLM-RoBERTa. "large" is the released architecture, 714M weights.
SIZES: dict[str, tuple[MuLanConfig, MuQConfig, XLMRobertaConfig]] = {
    "large": (_config(LARGE, None, 768, tf_depth=8), LARGE, XLM_ROBERTA_BASE),
    "small": (
        _config(SMALL, None, 256, tf_depth=4, heads=4),
        SMALL,
        _text_encoder(256, 4, 4, vocabulary=8_000),
    ),
    "tiny": (
        _config(TINY, 16, 24, tf_depth=2, heads=2, dim_head=8),
        TINY,
        _text_encoder(16, 2, 2, vocabulary=400),
    ),
}


def random_mulan(size: str, seed: int = 0) -> MuLan:
    """A MuQ-MuLan in eval mode with seeded weights; ``size`` is one of ``SIZES``.

    No norm is the identity and attention is not uniform, so that no mistake in either can go
    unnoticed; the MuQ is that of ``random_model``.
    """
    config, muq, xlm_roberta = SIZES[size]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = MuLan(config, muq, xlm_roberta)
        for module in model.mulan.modules():
            if isinstance(module, LayerNorm):
                nn.init.uniform_(module.learned_gamma, 0.5, 1.5)
            if isinstance(module, Attention):
                nn.init.uniform_(module.q_scale, 0.5, 1.5)
                nn.init.uniform_(module.k_scale, 0.5, 1.5)
            if isinstance(module, nn.LayerNorm):
                nn.init.uniform_(module.weight, 0.5, 1.5)
                nn.init.normal_(module.bias, 0, 0.1)
    model.mulan.audio.model = random_model(muq, seed)
    return model.eval()
