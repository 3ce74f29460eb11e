"""The filters that the page resamples with: soxr's own, measured as it answers impulses."""

import math
from dataclasses import dataclass

import numpy as np
import soxr

from ..runtime.audio.resampler import QUALITY

# What files and sound cards have.
RATES_HZ = (8000, 11025, 12000, 16000, 22050, 32000, 44100, 48000, 88200, 96000, 176400, 192000)
# Of the largest coefficient. What lies below is soxr's rounding.
_NEGLIGIBLE = 1e-10
_NEGLIGIBLE_AT_START = 1e-8
# Longer than any of soxr's filters, in samples of the lower of the two rates.
_REACH_SAMPLES = 500


@dataclass(frozen=True, eq=False)
class PolyphaseFilter:
    """Output n is the sum of ``rows[n * down % up][i] * input[n * down // up - before + i]``.

    At a stream's beginning soxr's stages do not hear what the stages before them would have rung
    before it; so to each of the first outputs a weighted sum of the first inputs is added.

    Attributes:
        rows: float64 (up, taps).
        down: how many inputs ``up`` outputs take.
        before: how many inputs a row begins before the one that it is aligned with.
        start: float64 (outputs, inputs), the weights at the beginning; may be empty.
    """

    rows: np.ndarray
    down: int
    before: int
    start: np.ndarray


def measured_filter(rate_hz: int, target_rate_hz: int) -> PolyphaseFilter:
    """The filter of soxr's "VHQ" from one rate to another, from its answers to single impulses.

    soxr answers an impulse at input k with h(n * down - k * up) at output n; so impulses at
    ``down`` inputs in a row show all of h.
    """
    common = math.gcd(rate_hz, target_rate_hz)
    up, down = target_rate_hz // common, rate_hz // common
    reach = _REACH_SAMPLES * math.ceil(down / up)
    middle = 2 * math.ceil(reach / down) * down
    length = 2 * middle + down
    response = np.zeros((2 * reach + 1) * up)  # of h, from -reach * up on
    for k in range(middle, middle + down):
        found = _answer(rate_hz, target_rate_hz, k, length)
        places = np.arange(len(found)) * down - k * up + reach * up
        inside = (places >= 0) & (places < len(response))
        response[places[inside]] = found[inside]
    heard = np.flatnonzero(np.abs(response) > _NEGLIGIBLE * np.abs(response).max())
    # Row p's coefficient for the input j before the aligned one is h(p + j * up).
    before = math.ceil((heard[-1] - reach * up) / up)
    after = math.ceil((reach * up - heard[0]) / up) + 1
    back = np.arange(before, -after - 1, -1)
    rows = response[np.arange(up)[:, None] + (back + reach) * up]
    without_start = PolyphaseFilter(rows, down, before, np.zeros((0, 0)))
    return PolyphaseFilter(rows, down, before, _start(without_start, rate_hz, target_rate_hz))


def _answer(rate_hz: int, target_rate_hz: int, k: int, length: int) -> np.ndarray:
    """What soxr makes of so many samples, all 0 but one that is 1."""
    impulse = np.zeros(length)
    impulse[k] = 1.0
    found: np.ndarray = soxr.resample(impulse, rate_hz, target_rate_hz, quality=QUALITY)
    return found


def _start(regular: PolyphaseFilter, rate_hz: int, target_rate_hz: int) -> np.ndarray:
    """By how much soxr's first outputs differ from the filter's, for each of the first inputs."""
    (up, taps), down, before = regular.rows.shape, regular.down, regular.before
    length = 4 * taps
    outputs = np.arange(length * up // down // 2)
    rows, first = outputs * down % up, outputs * down // up - before
    columns = []
    for k in range(before):
        tap = k - first
        expected = np.where(
            (tap >= 0) & (tap < taps), regular.rows[rows, tap.clip(0, taps - 1)], 0.0
        )
        answered = _answer(rate_hz, target_rate_hz, k, length)[: len(outputs)]
        columns.append(answered - expected)
    weights = np.stack(columns, axis=1)
    heard = np.abs(weights) > _NEGLIGIBLE_AT_START * np.abs(regular.rows).max()
    found: np.ndarray = weights[: _count(heard.any(axis=1)), : _count(heard.any(axis=0))]
    return found


def _count(heard: np.ndarray) -> int:
    """How many there are up to the last that is heard."""
    return int(np.flatnonzero(heard)[-1]) + 1 if heard.any() else 0
