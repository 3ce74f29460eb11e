"""Observe activations on music, and the ranges of real numbers that 256 codes stand for."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ....errors import AudioError
from ....reference.muq import MuQ
from ....runtime.audio.read import SAMPLE_RATE_HZ
from ...parity.excerpt import EXAMPLE_FILES, EXAMPLES, SILENCE, Excerpt, beginning, dithered
from .sites import Watched

BYTE = 255  # the highest code of one
MINIMUM_SECONDS = 10.0  # of music to calibrate on
_SECONDS_OF_A_FILE = 10.0
_FADE_DB = 60.0


@dataclass(frozen=True, eq=False)
class Range:
    """A range of real numbers, ``low`` to ``high``, coded as unsigned bytes; zero has an exact
    code.

    Attributes:
        codes: the highest code; what is above a byte's is for two bytes together.
        channels: (channels,) float32, what the last axis is divided by before; None for ones.
    """

    low: float
    high: float
    channels: np.ndarray | None = None
    codes: int = BYTE

    @property
    def scale(self) -> float:
        """What one code more stands for."""
        return max((self.high - self.low) / self.codes, 1e-12)

    @property
    def zero_point(self) -> int:
        """The code of zero."""
        return round(-self.low / self.scale)

    def quantized(self, x: Tensor) -> Tensor:
        """x (..., channels) rounded to the nearest numbers that have a code."""
        unit = torch.tensor(1.0 if self.channels is None else self.channels) * self.scale
        codes = torch.clamp(torch.round(x / unit) + self.zero_point, 0, self.codes)
        return (codes - self.zero_point) * unit


@dataclass
class Observed:
    """The lowest and the highest number seen in each channel of an activation, zero included."""

    lows: Tensor | None = None
    highs: Tensor | None = None

    def add(self, x: Tensor) -> None:
        """Include the activation (..., channels) for more music."""
        rows = x.detach().flatten(0, -2)
        lows, highs = rows.amin(0).clamp(max=0), rows.amax(0).clamp(min=0)
        self.lows = lows if self.lows is None else torch.minimum(self.lows, lows)
        self.highs = highs if self.highs is None else torch.maximum(self.highs, highs)

    @property
    def peaks(self) -> Tensor:
        """Each channel's largest magnitude."""
        assert self.lows is not None and self.highs is not None
        return torch.maximum(-self.lows, self.highs)

    def range(self, headroom: float, channels: Tensor | None = None) -> Range:
        """Return the range of the numbers seen, divided by ``channels``, times the headroom."""
        assert self.lows is not None and self.highs is not None
        divisors = torch.ones(1) if channels is None else channels
        low, high = (self.lows / divisors).min(), (self.highs / divisors).max()
        stored = None if channels is None else channels.numpy()
        return Range(headroom * float(low), headroom * float(high), stored)


def calibration_music(files: Sequence[Path] = ()) -> list[Excerpt]:
    """Read some seconds of every file, not looped; of the clips that come with the package by
    default.

    Raises:
        AudioError: a file cannot be decoded, or is silent, or all of it is too little.
    """
    files = list(files) or [EXAMPLES / name for name in EXAMPLE_FILES]
    samples = round(_SECONDS_OF_A_FILE * SAMPLE_RATE_HZ)
    found = [Excerpt(path.name, dithered(beginning(path))[None, -samples:]) for path in files]
    check_music(found)
    return found


def with_fades(music: Sequence[Excerpt]) -> list[Excerpt]:
    """Add to each excerpt a second row that fades away, because every song has quiet parts."""
    return [Excerpt(each.name, np.concatenate([each.waveform, _faded(each)])) for each in music]


def _faded(excerpt: Excerpt) -> np.ndarray:
    decibels = np.linspace(0, -_FADE_DB, excerpt.waveform.shape[-1])
    return (excerpt.waveform * 10 ** (decibels / 20)).astype(np.float32)


def observe(
    model: MuQ,
    watched: Mapping[str, Watched],
    music: Sequence[Excerpt],
    on_step: Callable[[], None],
) -> dict[str, Observed]:
    """Run the model on the music and record the watched activations."""
    check_music(music)
    found = {name: Observed() for name in watched}
    hooks = [each.hook(each.modules[0], found[name].add) for name, each in watched.items()]
    try:
        with torch.inference_mode():
            for excerpt in music:
                model(torch.from_numpy(excerpt.waveform))
                on_step()
    finally:
        for hook in hooks:
            hook.remove()
    return found


def check_music(music: Sequence[Excerpt]) -> None:
    """Raise AudioError unless ranges measured on this music mean something."""
    seconds = sum(len(each.waveform) * each.seconds for each in music)
    if seconds < MINIMUM_SECONDS:
        raise AudioError(
            f"{seconds:.1f} s of music to calibrate on; at least {MINIMUM_SECONDS:.0f} s are "
            "needed. Name longer files, or more, with --music."
        )
    for excerpt in music:
        if not np.isfinite(excerpt.waveform).all():
            raise AudioError(f"{excerpt.name}: holds numbers that are not finite.")
        if np.abs(excerpt.waveform).max() < SILENCE:
            raise AudioError(f"{excerpt.name}: silent; ranges have to be measured on music.")
