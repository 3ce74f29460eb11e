"""Measure how much quantizing each site alone changes the features, and choose sites by it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ....reference.muq import MuQ
from ....runtime.parity.measuring import measure
from ...parity.excerpt import Excerpt
from ...parity.proof import OnStep
from . import fake
from .calibration import Range
from .sites import Site, activations


@dataclass(frozen=True, eq=False)
class Sensitivity:
    """The change of the features when ``site`` alone is quantized, the worst of all excerpts."""

    site: Site
    worst_frame_cosine: float
    relative_l2: float


@dataclass(frozen=True)
class Allowed:
    """How far the features may be from the reference's."""

    worst_frame_cosine: float
    relative_l2: float

    def used(self, quantized: Sequence[Sensitivity]) -> float:
        """Predict the share of the allowance that these sites use together; above 1 is too much.

        Errors of different sites are taken as independent: squares add up, and so, for small ones,
        does what cosines lack of 1.
        """
        lack = sum(1 - each.worst_frame_cosine for each in quantized)
        squares = sum(each.relative_l2**2 for each in quantized)
        return max(lack / (1 - self.worst_frame_cosine), squares / self.relative_l2**2)


def sensitivities(
    model: MuQ,
    found: Sequence[Site],
    ranges: Mapping[str, Range],
    excerpt: Excerpt,
    level: int,
    on_step: OnStep,
) -> list[Sensitivity]:
    """Measure every site of an equalized model on an excerpt."""
    watched = activations(model, level)
    waveform = torch.from_numpy(excerpt.waveform)
    measured = []
    with torch.inference_mode():
        log_mel = model.model.preprocessor_melspec_2048(waveform)
        states = _hidden_states(model, model.model.conv(log_mel), 0, level)
        for site in found:
            with fake.quantized([site], watched, ranges):
                first = max(site.layer, 0)
                x = model.model.conv(log_mel) if site.layer < 0 else states[first]
                features = _hidden_states(model, x, first, level)[-1]
            figures = measure(
                excerpt.name, excerpt.seconds, "features", features.numpy(), states[-1].numpy()
            )
            measured.append(Sensitivity(site, figures.worst_frame_cosine, figures.relative_l2))
            on_step(site.name)
    return measured


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
