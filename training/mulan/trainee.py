"""Contrastive training of MuQ-MuLan (paper section 3.4): which text describes which music."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from pydantic import NonNegativeInt, PositiveInt
from torch import Tensor, nn

from ...errors import UsageError
from ...reference.mulan.config import (
    EncoderConfig,
    JointConfig,
    MuLanConfig,
    Probability,
    TextTransformerConfig,
    TransformerConfig,
)
from ...reference.mulan.model import MuLan
from ...reference.mulan.xlm_roberta import XLMRobertaConfig
from ...reference.muq import MuQ
from ..data.caption_tokens import CAPTION_TOKENS
from ..loop.train import Trainee

MUQ_NAME, TEXT_NAME = "muq", "xlm-roberta"  # folders of the encoders' configurations
_INITIAL_STD = 0.02  # of a text encoder's weights, XLM-RoBERTa's own


@dataclass(frozen=True)
class Shape:
    """The towers of a new MuQ-MuLan, above its MuQ.

    Attributes:
        dim_latent: width of an embedding.
        dim, tf_depth, heads, dim_head: of the transformer on top of either encoder.
        text_width, text_layers, text_heads: of a text encoder that is trained from scratch.
        text_dropout: in it.
        vocabulary: tokens at most, of a tokenizer that is fitted to the captions.
    """

    dim_latent: PositiveInt = 512
    dim: PositiveInt = 768
    tf_depth: NonNegativeInt = 8
    heads: PositiveInt = 8
    dim_head: PositiveInt = 64
    text_width: PositiveInt = 768
    text_layers: PositiveInt = 12
    text_heads: PositiveInt = 12
    text_dropout: Probability = 0.1
    vocabulary: PositiveInt = 32_000


_MINI_TOWER = {"dim": 128, "tf_depth": 2, "heads": 4, "dim_head": 32}
_MINI_TEXT = {"text_width": 128, "text_layers": 3, "text_heads": 4, "vocabulary": 2000}
# "large" has the released towers.
SHAPES = {"large": Shape(), "mini": Shape(dim_latent=128, **_MINI_TOWER, **_MINI_TEXT)}


def initial_mulan(
    shape: Shape, muq: MuQ, level: int, text: MuLan | None, vocabulary: int, seed: int
) -> MuLan:
    """A MuQ-MuLan to train: torch's initial weights, seeded, above a trained MuQ.

    Args:
        shape: of what is new.
        muq: the encoder of the audio tower.
        level: which of its hidden states the tower stands on.
        text: its whole text tower is taken over, and the width of the embeddings with it.
        vocabulary: number of tokens of a new text encoder.
        seed: of the weights.

    Raises:
        CheckpointError: the MuQ has no such level.
    """
    tower = {"tf_depth": shape.tf_depth, "heads": shape.heads, "dim_head": shape.dim_head}
    text_config = text.mulan.text.model.config if text else _text_encoder(shape, vocabulary)
    config = MuLanConfig(
        mulan=text.config.mulan if text else JointConfig(shape.dim_latent),
        audio_model=EncoderConfig(MUQ_NAME, muq.config.encoder_dim, level),
        text_model=EncoderConfig(
            TEXT_NAME, text.config.text_model.model_dim if text else text_config.hidden_size
        ),
        audio_transformer=TransformerConfig(shape.dim, **tower),
        text_transformer=(
            text.config.text_transformer if text else TextTransformerConfig(shape.dim, **tower)
        ),
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = MuLan(config, muq.config, text_config)
        if text is None:
            _initialise(model.mulan.text.model)
    model.mulan.audio.model = muq
    if text is not None:
        model.mulan.text.load_state_dict(text.mulan.text.state_dict())
        model.mulan.text_to_latents.load_state_dict(text.mulan.text_to_latents.state_dict())
    return model


class Contrastive(Trainee):
    """Bring each crop's embedding near its caption's, and away from those of the others.

    Args:
        mulan: what is trained.
        freeze_audio: its MuQ stays as it is; ``audio`` holds its states rather than waveforms.
        freeze_text: its text encoder stays as it is.
        all_gather: as for ``decoupled_contrastive_loss``.
    """

    def __init__(
        self,
        mulan: MuLan,
        freeze_audio: bool = False,
        freeze_text: bool = False,
        all_gather: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        super().__init__()
        self.mulan = mulan
        self._all_gather = all_gather
        self._still: list[nn.Module] = []
        towers = mulan.mulan
        if freeze_audio:
            self._still.append(towers.audio.model)
        if freeze_text:
            self._still.append(towers.text.model)
        self._freeze_audio = freeze_audio
        for module in (*self._still, *_never_called(mulan)):
            module.requires_grad_(False)
        towers.audio.model.model.cls_token.requires_grad_(False)

    @property
    def weights(self) -> nn.Module:
        """The whole MuQ-MuLan."""
        return self.mulan

    def train(self, mode: bool = True) -> "Contrastive":
        """Set the mode of what is trained; frozen encoders stay in eval mode."""
        super().train(mode)
        for module in self._still:
            module.eval()
        return self

    def forward(self, audio: Tensor, ids: Tensor, mask: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss over all pairs of all processes, and figures over those of this one.

        Args:
            audio: (pairs, samples) at 24 kHz, or (pairs, steps, width) where MuQ is frozen.
            ids, mask: (pairs, tokens) of the captions.

        Returns:
            The loss; ``matched``, the share of crops whose own caption is the nearest of the batch;
            ``temperature``, what cosines are multiplied by.
        """
        longest = int(mask.sum(1).max())
        text = self.mulan.text_latents(ids[:, :longest], mask[:, :longest]).float()
        music = self._audio_latents(audio).float()
        temperatures = self.mulan.mulan.contrast.temperatures
        # Rounded similarities would hide which text is nearer.
        with torch.autocast(audio.device.type, enabled=False):
            loss = decoupled_contrastive_loss(music, text, temperatures, self._all_gather)
            nearest = (music.detach() @ text.detach().T).argmax(1)
        matched = (nearest == torch.arange(len(music), device=nearest.device)).float().mean()
        return loss, {"matched": matched, "temperature": temperatures.detach().exp().reshape(())}

    def _audio_latents(self, audio: Tensor) -> Tensor:
        if not self._freeze_audio:
            return self.mulan.audio_latents(audio)
        towers = self.mulan.mulan
        mean = towers.audio.transformer(towers.audio.proj(audio)).mean(dim=1)
        return nn.functional.normalize(towers.audio_to_latents(mean), dim=-1)


def decoupled_contrastive_loss(
    audio: Tensor,
    text: Tensor,
    temperatures: Tensor,
    all_gather: Callable[[Tensor], Tensor] | None = None,
) -> Tensor:
    """Decoupled contrastive learning (Yeh et al. 2021, arXiv 2110.06848) in both directions.

    A pair's similarity is compared with those of its audio to all other texts, and of its text to
    all other audio. Unlike in CLIP's loss it is no part of the sum it is compared with, which
    keeps gradients alive in small batches.

    Args:
        audio: (pairs, width), of length one.
        text: (pairs, width), of length one; row i describes the audio in row i.
        temperatures: the model's ``mulan.contrast.temperatures``, one number: the logarithm of what
            cosines are multiplied by.
        all_gather: (pairs, width) of this process to those of all processes, in one order, with
            gradients that flow back to all of them; none where there is one process. With
            Lightning Fabric: ``lambda x: fabric.all_gather(x, sync_grads=True).flatten(0, 1)``.

    Returns:
        A scalar, the same on every process.

    Raises:
        UsageError: a single pair, which has nothing to be told apart from.
    """
    if all_gather is not None:
        audio, text = all_gather(audio), all_gather(text)
    if len(audio) < 2:
        raise UsageError("a batch needs two pairs or more.")
    similarities = audio @ text.T * temperatures.reshape(()).exp()
    itself = torch.eye(len(audio), dtype=torch.bool, device=audio.device)
    others = similarities.masked_fill(itself, float("-inf"))
    denominators = 0.5 * (others.logsumexp(dim=0) + others.logsumexp(dim=1))
    return (denominators - similarities.diagonal()).mean()


def _text_encoder(shape: Shape, vocabulary: int) -> XLMRobertaConfig:
    return XLMRobertaConfig(
        model_type="xlm-roberta",
        vocab_size=vocabulary,
        hidden_size=shape.text_width,
        num_hidden_layers=shape.text_layers,
        num_attention_heads=shape.text_heads,
        intermediate_size=4 * shape.text_width,
        hidden_dropout_prob=shape.text_dropout,
        attention_probs_dropout_prob=shape.text_dropout,
        max_position_embeddings=CAPTION_TOKENS + 2,  # of which padding takes two
        type_vocab_size=1,
        layer_norm_eps=1e-5,
    )


def _initialise(encoder: nn.Module) -> None:
    for module in encoder.modules():
        if isinstance(module, nn.Linear | nn.Embedding):
            nn.init.normal_(module.weight, std=_INITIAL_STD)
        if isinstance(module, nn.Linear):
            nn.init.zeros_(module.bias)


def _never_called(mulan: MuLan) -> list[nn.Module]:
    """Modules without a part in the loss: several processes would wait for their gradients."""
    towers = mulan.mulan
    model = towers.audio.model.model
    depth = mulan.mulan.audio.model.config.encoder_depth
    level = range(depth + 1)[towers.audio.level]
    unused = [towers.audio.aggregator, towers.text.model.pooler, model.linear]
    unused += [model.conformer.pos_conv_embed, *model.conformer.layers[level:]]
    if level < depth:
        unused.append(model.conformer.layer_norm)
    for name in ("rvq", "quantizer_melspec_2048", "recon_proj"):
        unused += [getattr(model, name)] if hasattr(model, name) else []
    return unused
