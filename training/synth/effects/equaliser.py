"""Equalisers: bells of the well-known cookbook (R. Bristow-Johnson) and a tilt."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.signal import lfilter, sosfilt

from ..synthesizer import SAMPLE_RATE_HZ

_TILT_CORNER_HZ = 900.0


class Band(NamedTuple):
    """A bell: its centre, its gain there, and its quality (narrow above 1, wide below)."""

    hz: float
    decibels: float
    quality: float


def equalised(audio: np.ndarray, bands: Sequence[Band]) -> np.ndarray:
    """(samples,) through the bands, one after another."""
    return sosfilt(np.stack([_section(band) for band in bands]), audio) if bands else audio


def tilted(audio: np.ndarray, decibels: float) -> np.ndarray:
    """(samples,) with the treble ``decibels`` above the bass."""
    pole = np.exp(-2 * np.pi * _TILT_CORNER_HZ / SAMPLE_RATE_HZ)
    bass = lfilter([1 - pole], [1, -pole], audio)
    return bass * 10 ** (-decibels / 40) + (audio - bass) * 10 ** (decibels / 40)


def _section(band: Band) -> np.ndarray:
    angle = 2 * np.pi * band.hz / SAMPLE_RATE_HZ
    root = 10 ** (band.decibels / 40)
    alpha = np.sin(angle) / (2 * band.quality)
    cosine = -2 * np.cos(angle)
    section = np.array(
        [1 + alpha * root, cosine, 1 - alpha * root, 1 + alpha / root, cosine, 1 - alpha / root]
    )
    return section / section[3]
