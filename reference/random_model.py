"""MuQs with seeded random weights: for tests, benchmarks, and a demo before any download."""

import torch
from torch import nn

from .config import ConformerConfig, MuQConfig
from .conformer import SelfAttention
from .muq import MuQ

# Brings the scores' standard deviation, 1/3 with torch's initial weights, to 2.
_SHARPNESS = 2.5

LARGE = MuQConfig()  # the released architecture, 333M weights
SMALL = MuQConfig(
    conv_dim=64,
    encoder_dim=256,
    encoder_depth=12,
    w2v2_config=vars(ConformerConfig(num_attention_heads=4, intermediate_size=1024)),
)
# What muq-mini is trained as: 7M weights, fast enough for two CPU cores.
MINI = MuQConfig(
    conv_dim=16,
    encoder_dim=192,
    encoder_depth=6,
    w2v2_config=vars(
        ConformerConfig(
            num_attention_heads=6,
            intermediate_size=768,
            num_conv_pos_embeddings=16,
            hidden_dropout=0.0,
            activation_dropout=0.0,
            attention_dropout=0.0,
            conformer_conv_dropout=0.0,
        )
    ),
)
TINY = MuQConfig(
    conv_dim=8,
    encoder_dim=32,
    encoder_depth=12,
    w2v2_config=vars(
        ConformerConfig(
            num_attention_heads=2,
            intermediate_size=64,
            num_conv_pos_embeddings=8,
            num_conv_pos_embedding_groups=4,
        )
    ),
)
CONFIGS = {"large": LARGE, "small": SMALL, "mini": MINI, "tiny": TINY}


def random_model(config: MuQConfig, seed: int = 0) -> MuQ:
    """A MuQ in eval mode with seeded weights.

    The norms get running statistics, scales and shifts that are not the identity, and the
    attention is sharp as a trained one's, so that no mistake in either can go unnoticed.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = MuQ(config).eval()
        for module in model.modules():
            if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
                assert module.running_mean is not None and module.running_var is not None
                module.running_mean.normal_(0, 0.1)
                module.running_var.uniform_(0.05, 0.3)
            if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d | nn.LayerNorm):
                nn.init.uniform_(module.weight, 0.5, 1.5)
                nn.init.normal_(module.bias, 0, 0.1)
            if isinstance(module, SelfAttention):
                module.linear_q.weight.data *= _SHARPNESS
                module.linear_k.weight.data *= _SHARPNESS
    return model
