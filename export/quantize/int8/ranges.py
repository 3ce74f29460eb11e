"""Choose quantization ranges from observed activations."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from .calibration import BYTE, Observed, Range
from .equalization import balanced, largest_columns
from .sites import LOG_MEL, Site, in_front_end

# How far ranges reach beyond the largest values seen. The encoder's activations have a few large
# channels whose size differs from song to song, and what is cut off of one is missing from
# everything after: over 25 songs that muq-mini was not calibrated on, ranges as wide as what was
# seen leave a relative L2 of up to 0.079, twice as wide ones 0.026. Clipping for the least squared
# error, as is usual, is worse still, in the front end too: 0.065 on a random full-size model, 0.020
# with all of what was seen.
_ENCODER_HEADROOM = 2.0
_FRONT_END_HEADROOM = 1.0
# Channels after an activation function cannot be equalized in the layer before. They are divided by
# factors of their own where one of these is so many times the usual one; elsewhere the division
# (a pass over the activation) would bring next to nothing.
_UNEVEN = 4.0
# Of the log-mel's second byte, to one of its first. A rounding error there is in everything after.
FINE_STEPS = 16


def ranges(observed: Mapping[str, Observed], found: Sequence[Site]) -> dict[str, Range]:
    """Return the ranges to quantize with, from the activations that ``observe`` recorded."""
    channels = {
        site.name: _channels(observed[site.name], site) for site in found if site.after_activation
    }
    result = {LOG_MEL: _of_log_mel(observed[LOG_MEL])}
    for name, each in observed.items():
        if name != LOG_MEL:
            headroom = _FRONT_END_HEADROOM if in_front_end(name) else _ENCODER_HEADROOM
            result[name] = each.range(headroom, channels.get(name))
    return result


def _of_log_mel(observed: Observed) -> Range:
    """Return the log-mel's range: two bytes have room for any music."""
    seen = observed.range(_ENCODER_HEADROOM)
    largest = max(-seen.low, seen.high)
    return Range(-largest, largest, codes=FINE_STEPS * BYTE)


def _channels(observed: Observed, site: Site) -> Tensor | None:
    scales = balanced(observed.peaks, largest_columns(site.products))
    return scales if scales.max() > _UNEVEN * torch.median(scales) else None
