"""A head's weights as another project stored them, as the module that computes the same."""

import re
from collections.abc import Mapping
from dataclasses import asdict
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from ...errors import CheckpointError
from ...reference.probe import Mixture, Probe, ProbeConfig
from ...reference.song_scorer import SongScorer, SongScorerConfig
from ...reference.weights import load_strictly
from ...runtime.bundle.record import Record, RelativeFile
from ...runtime.bundle.scoring import Activation, WindowSeconds

_SONG_LEVEL, _SONG_HEADS = 6, 8
_IN_PROJECTION = re.compile(r"attn\.\d+\.in_proj_weight")


class HeadFile(Record):
    """What a file says of a head; what is left out is read off the weights.

    Attributes:
        weights: the file of the weights, beside this one.
        kind: "probe", or "songeval".
        levels: the hidden states that it reads.
        labels: the names of its scores.
        activation: what follows its last layer.
        window_seconds: how much audio one answer is for, or "whole".
        mixture: of a probe of several levels: "mean", or "softmax" or "plain" of its weights.
        layers: of a probe: the names of its linear layers, in order, without ".weight".
        level_weights: of a probe: the name of the weights of its levels.
        attention_heads: of a "songeval".
    """

    weights: RelativeFile
    kind: Literal["probe", "songeval"] | None = None
    levels: Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1)] | None = None
    labels: list[str] | None = None
    activation: Activation = "none"
    window_seconds: WindowSeconds | Literal["whole"] | None = None
    mixture: Mixture | None = None
    layers: Annotated[list[str], Field(min_length=1)] | None = None
    level_weights: str | None = None
    attention_heads: Annotated[int, Field(ge=1)] = _SONG_HEADS


def module_of(path: Path, facts: HeadFile, state: Mapping[str, Tensor]) -> Probe | SongScorer:
    """The module of a state dict.

    Args:
        path: what errors call the weights.
        facts: what is known of them.
        state: the weights.

    Raises:
        CheckpointError: the weights are not what the facts say, or not of a kind that is known.
    """
    is_song = facts.kind == "songeval" or (
        facts.kind is None and any(_IN_PROJECTION.fullmatch(name) for name in state)
    )
    return _song(path, facts, state) if is_song else _probe(path, facts, state)


def _song(path: Path, facts: HeadFile, state: Mapping[str, Tensor]) -> SongScorer:
    inner, width = _shape(path, state, "ffd.0.weight")
    config = SongScorerConfig(
        levels=facts.levels or [_SONG_LEVEL],
        width=width,
        inner=inner,
        layers=sum(_IN_PROJECTION.fullmatch(name) is not None for name in state),
        heads=facts.attention_heads,
        outputs=_shape(path, state, "fc.weight")[0],
    )
    if len(config.levels) != 1:
        raise CheckpointError(f"{path}: SongEval's head reads one level, not {config.levels}.")
    if width % config.heads:
        raise CheckpointError(
            f"{path}: {config.heads} attention heads do not divide the width {width}: give "
            "attention_heads."
        )
    return load_strictly(
        lambda: SongScorer(config), asdict(config), ("layers",), state, str(path), "kind"
    )


def _probe(path: Path, facts: HeadFile, state: Mapping[str, Tensor]) -> Probe:
    if facts.levels is None:
        raise CheckpointError(
            f"{path}: which levels this head reads is not in its weights. Describe it in a JSON "
            f'file beside it, {{"weights": "{path.name}", "levels": [6]}}, and give that.'
        )
    names = facts.layers or _linear_layers(state)
    shapes = [_shape(path, state, f"{name}.weight") for name in names]
    if not shapes or any(one[0] != following[1] for one, following in pairwise(shapes)):
        chain = ", ".join(f"{name} {shape}" for name, shape in zip(names, shapes, strict=True))
        raise CheckpointError(
            f"{path}: its linear layers do not follow one another ({chain or 'there are none'}). "
            "Name them in order under layers, in a JSON file that describes the head."
        )
    others, learned = _mixing(path, facts, state)
    ours = {
        f"{name}.{part}": f"layers.{index}.{part}"
        for index, name in enumerate(names)
        for part in ("weight", "bias")
    }
    renamed = {ours.get(name, name): tensor for name, tensor in others.items()}
    config = ProbeConfig(
        levels=facts.levels,
        widths=[shapes[0][1], *(each[0] for each in shapes)],
        mixture=facts.mixture or learned,
    )
    return load_strictly(lambda: Probe(config), {}, (), renamed, str(path), "description")


def _mixing(
    path: Path, facts: HeadFile, state: Mapping[str, Tensor]
) -> tuple[dict[str, Tensor], Mixture]:
    """The weights with those of the levels under their own names, and how these are meant.

    MARBLE has a softmax of one tensor, or a convolution of one tap over the levels: plain weights
    and a bias.
    """
    renamed, levels = dict(state), len(facts.levels or ())
    if facts.level_weights is not None and facts.level_weights not in state:
        raise CheckpointError(f"{path}: no {facts.level_weights} among its weights.")
    name = facts.level_weights or _level_weights(state, levels)
    if name is None or facts.mixture == "mean":
        return renamed, "mean"
    renamed["level_weights"] = renamed.pop(name).reshape(-1)
    bias = f"{name.removesuffix('.weight')}.bias"
    is_plain = facts.mixture == "plain" or (facts.mixture is None and bias in state)
    if is_plain:
        renamed["level_bias"] = renamed.pop(bias, torch.zeros(1)).reshape(-1)
    return renamed, "plain" if is_plain else "softmax"


def _linear_layers(state: Mapping[str, Tensor]) -> list[str]:
    """The names of all matrices that have a bias, in the order of the numbers in them."""
    found = [name.removesuffix(".weight") for name, each in state.items() if each.ndim == 2]
    layers = [name for name in found if f"{name}.bias" in state]

    def order(name: str) -> tuple[list[tuple[int, str]], ...]:
        return ([(int(each), "") if each.isdigit() else (-1, each) for each in name.split(".")],)

    return sorted(layers, key=order)


def _level_weights(state: Mapping[str, Tensor], levels: int) -> str | None:
    """The name of what has one number for each level, shaped as no bias is, or called so."""
    known = [
        name
        for name, each in state.items()
        if each.numel() == levels and (each.ndim == 3 or not name.endswith((".weight", ".bias")))
    ]
    return known[0] if len(known) == 1 else None


def _shape(path: Path, state: Mapping[str, Tensor], name: str) -> tuple[int, int]:
    if name not in state or state[name].ndim != 2:
        raise CheckpointError(f"{path}: no matrix {name} among its weights.")
    rows, columns = state[name].shape
    return rows, columns
