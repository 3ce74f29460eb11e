"""Measure how much rounding each site alone changes the features, and choose sites by it."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from math import inf

import numpy as np
import torch
from torch import Tensor

from ....reference.muq import MuQ
from ....runtime.audio.read import SAMPLE_RATE_HZ
from ....runtime.parity.measuring import measure
from ...parity.excerpt import Excerpt
from ...parity.proof import OnStep
from .sites import Site

_SECONDS = 4.0  # of each song, and so many songs:
_SONGS = 4

# The tags (batch, tags) for hidden states, each (batch, steps, width), from level 0.
Tags = Callable[[Sequence[np.ndarray]], np.ndarray]


@dataclass(frozen=True, eq=False)
class Sensitivity:
    """The change of the features when ``site`` alone is rounded, the worst of all excerpts; and
    that of the tags, where it was measured."""

    site: Site
    worst_frame_cosine: float
    relative_l2: float
    largest_tag_change: float = 0.0


@dataclass(frozen=True)
class Allowed:
    """How far the features and tags may be from the reference's."""

    worst_frame_cosine: float
    relative_l2: float
    largest_tag_change: float = inf

    def used(self, quantized: Sequence[Sensitivity]) -> float:
        """Predict the share of the allowance that these sites use together; above 1 is too much.

        Errors of different sites are taken as independent: squares add up, and so, for small ones,
        does what cosines lack of 1.
        """
        lack = sum(1 - each.worst_frame_cosine for each in quantized)
        squares = sum(each.relative_l2**2 for each in quantized)
        tags = sum(each.largest_tag_change**2 for each in quantized)
        return max(
            lack / (1 - self.worst_frame_cosine),
            squares / self.relative_l2**2,
            tags / self.largest_tag_change**2,
        )


def excerpt_of(music: Sequence[Excerpt]) -> Excerpt:
    """Some seconds of some songs, to measure sensitivities on."""
    samples = round(_SECONDS * SAMPLE_RATE_HZ)
    rows = [np.resize(each.waveform, samples) for each in music[:_SONGS]]
    return Excerpt("calibration", np.stack(rows))


def sensitivities(
    model: MuQ,
    found: Sequence[Site],
    rounding: Callable[[Site], AbstractContextManager[None]],
    excerpt: Excerpt,
    level: int,
    on_step: OnStep,
    tags: Tags | None = None,
) -> list[Sensitivity]:
    """Measure every site of a model on an excerpt.

    Args:
        model: whose sites.
        found: the sites.
        rounding: rounds a site's weights and activations inside the block.
        excerpt: the music.
        level: the deepest hidden state, which is the features.
        on_step: called after each site.
        tags: computes them where their change counts, too.
    """
    waveform = torch.from_numpy(excerpt.waveform)
    measured = []
    with torch.inference_mode():
        log_mel = model.model.preprocessor_melspec_2048(waveform)
        states = _hidden_states(model, model.model.conv(log_mel), 0, level)
        for site in found:
            with rounding(site):
                first = max(site.layer, 0)
                x = model.model.conv(log_mel) if site.layer < 0 else states[first]
                rounded = [*states[:first], *_hidden_states(model, x, first, level)]
            figures = measure(
                excerpt.name, excerpt.seconds, "features", rounded[-1].numpy(), states[-1].numpy()
            )
            change = 0.0 if tags is None else _largest_change(tags, rounded, states)
            measured.append(
                Sensitivity(site, figures.worst_frame_cosine, figures.relative_l2, change)
            )
            on_step(f"sensitivity: {site.name}")
    return measured


def _largest_change(tags: Tags, ours: Sequence[Tensor], reference: Sequence[Tensor]) -> float:
    """Return the largest change of any tag; 1, the most there is, where it is not a number."""
    ours_, expected = (tags([state.numpy() for state in states]) for states in (ours, reference))
    return float(np.nan_to_num(np.abs(ours_ - expected), nan=1.0).max())


def _hidden_states(model: MuQ, x: Tensor, first: int, level: int) -> list[Tensor]:
    """Hidden states from ``first``, x itself, to ``level``."""
    encoder = model.model.conformer
    positions = encoder.embed_positions(x.shape[1])
    states = [x]
    for layer in encoder.layers[first:level]:
        states.append(layer(states[-1], positions, None))
    if level == len(encoder.layers):
        states[-1] = encoder.layer_norm(states[-1])
    return states


def chosen(measured: Sequence[Sensitivity], allowed: Allowed, share: float) -> list[Sensitivity]:
    """Choose the sites to quantize so that the features are likely to stay within a share of what
    is allowed.

    Left out is, one by one, the site that costs most for the multiplications that it saves. The
    last one may have been large, and leave room for some of those before it.
    """
    cheapest_first = sorted(
        measured, key=lambda each: allowed.used([each]) / each.site.macs_per_step
    )
    kept = list(cheapest_first)
    while kept and allowed.used(kept) > share:
        kept.pop()
    for each in cheapest_first[len(kept) + 1 :]:
        if allowed.used([*kept, each]) <= share:
            kept.append(each)
    return [each for each in measured if each in kept]
