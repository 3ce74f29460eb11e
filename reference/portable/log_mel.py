"""The log-mel as matrix products."""

import math
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..mel import FLOOR, LogMel


@dataclass(frozen=True, eq=False)
class MelMatrices:
    """The log-mel's transform as a strided convolution over the waveform's phases and two products.

    Attributes:
        first: (phases * 2 * columns, 1, taps), the windowed short transforms, a group a phase.
        second: (2 * phases, 2 * phases), what combines them: real before imaginary rows.
        bands: (mels, phases * columns), the filterbank in the order of the bins.
    """

    first: np.ndarray
    second: np.ndarray
    bands: np.ndarray


class MatrixLogMel(nn.Module):
    """``LogMel`` as matrix products.

    Args:
        log_mel: whose hop and statistics.
        matrices: of the transform.
    """

    first: Tensor
    second: Tensor
    bands: Tensor
    unit: Tensor

    def __init__(self, log_mel: LogMel, matrices: MelMatrices) -> None:
        super().__init__()
        self.hop_samples = log_mel.hop_samples
        self.mean_db, self.std_db = log_mel.mean_db, log_mel.std_db
        self.phases = len(matrices.second) // 2
        self.window_samples = self.phases * matrices.first.shape[-1]
        # In the shape of a convolution's weights: of a view ExecuTorch would not see that it is
        # constant, and would compute it in the slow way.
        second = matrices.second[..., None, None]
        for name, values in (
            ("first", matrices.first),
            ("second", second),
            ("bands", matrices.bands),
        ):
            self.register_buffer(name, torch.from_numpy(values).float())
        self.register_buffer("unit", torch.eye(self.phases)[:, None])

    def forward(self, waveform: Tensor) -> Tensor:
        """(batch, samples) float32, more than 1024 samples -> (batch, mels, samples // hop)."""
        pad = self.window_samples // 2
        padded = F.pad(waveform[:, None], (pad, pad), mode="reflect")
        # A convolution by ones and zeros cuts it into phases: of a reshape, converters would ask
        # that the length be a multiple.
        phases = F.conv1d(padded, self.unit, stride=self.phases)
        stride = self.hop_samples // self.phases
        columns = F.conv1d(phases, self.first, stride=stride, groups=self.phases)[..., :-1]
        by_phase = columns.unflatten(1, (2 * self.phases, -1))
        spectrum = F.conv2d(by_phase, self.second)
        power = spectrum[:, : self.phases].square() + spectrum[:, self.phases :].square()
        mel = self.bands @ power.flatten(1, 2)
        decibel = (10 / math.log(10)) * mel.clamp(min=FLOOR).log()
        return (decibel - self.mean_db) / self.std_db
