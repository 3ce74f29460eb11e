"""MuQs with seeded random weights: for tests, benchmarks, and a demo before any download."""

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from .config import ConformerConfig, MuQConfig
from .conformer import ConformerLayer, SelfAttention
from .front_end import Res2dModule
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
_DROPOUTS = ("hidden_dropout", "activation_dropout", "attention_dropout", "conformer_conv_dropout")
_NO_DROPOUT: dict[str, Any] = dict.fromkeys(_DROPOUTS, 0.0)
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
            **_NO_DROPOUT,
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


# Of every so many channels one is an outlier, so many times as large as the others.
_CHANNELS_PER_OUTLIER = 128
_OUTLIER = 30.0


def random_model(config: MuQConfig, seed: int = 0, outliers: bool = False) -> MuQ:
    """A MuQ in eval mode with seeded weights.

    With ``outliers`` it is hard to quantize, as trained transformers are: wherever one matrix
    follows another, a few channels between them are much larger than the rest.

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
        if outliers:
            _add_outliers(model)
    return model


def _add_outliers(model: MuQ) -> None:
    for block in cast(list[Res2dModule], model.model.conv.conv):
        _enlarge([block.bn1], [block.conv2])
    for layer in cast(list[ConformerLayer], model.model.conformer.layers):
        attention, convolution = layer.self_attn, layer.conv_module
        readers: list[nn.Module] = [attention.linear_q, attention.linear_k, attention.linear_v]
        _enlarge([layer.ffn1_layer_norm], [layer.ffn1.intermediate_dense])
        _enlarge([layer.self_attn_layer_norm], readers)
        _enlarge([convolution.layer_norm], [convolution.pointwise_conv1])
        _enlarge([layer.ffn2_layer_norm], [layer.ffn2.intermediate_dense])
        _enlarge([attention.linear_v], [attention.linear_out])
        _enlarge([convolution.batch_norm], [convolution.pointwise_conv2])
        for ffn in (layer.ffn1, layer.ffn2):
            _enlarge([ffn.intermediate_dense], [ffn.output_dense])


def _enlarge(writers: Sequence[nn.Module], readers: Sequence[nn.Module]) -> None:
    """Make some of the channels between modules larger; their readers' weights smaller for it."""
    channels = len(cast(Tensor, writers[0].weight))
    chosen = torch.randperm(channels)[: max(1, channels // _CHANNELS_PER_OUTLIER)]
    for writer in writers:
        for parameter in (writer.weight, writer.bias):
            cast(Tensor, parameter).data[chosen] *= _OUTLIER
    for reader in readers:
        cast(Tensor, reader.weight).data[:, chosen] /= _OUTLIER
