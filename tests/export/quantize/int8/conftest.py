"""A small model with outlier channels, and what was measured on it."""

import pytest

from muqrt.export.parity.excerpt import Excerpt
from muqrt.export.quantize.int8.artefact import Calibrated, calibrate
from muqrt.export.quantize.int8.calibration import calibration_music
from muqrt.reference.muq import MuQ
from muqrt.reference.random_model import TINY, random_model

LEVEL = 3


@pytest.fixture(scope="session")
def songs() -> list[Excerpt]:
    return [Excerpt(each.name, each.waveform[:, :96_000]) for each in calibration_music()]


@pytest.fixture(scope="session")
def uneven() -> MuQ:
    return random_model(TINY, outliers=True)


@pytest.fixture(scope="session")
def calibrated(uneven: MuQ, songs: list[Excerpt]) -> Calibrated:
    return calibrate(uneven, songs, LEVEL)
