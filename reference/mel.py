"""MuQ's input: the log-mel spectrogram in dB, normalised (paper section 3.1; MelSTFT upstream)."""

import math

import torch
from torch import Tensor, nn

from .config import SAMPLE_RATE_HZ

WINDOW_SAMPLES = 2048
FLOOR = 1e-10  # of the mel power, so that silence is -100 dB


def mel_filterbank(n_mels: int = 128) -> Tensor:
    """HTK mel triangles without normalisation, 0 Hz to Nyquist.

    Returns:
        (1025, n_mels) float32: weight of each STFT bin in each band.
    """
    nyquist_hz = SAMPLE_RATE_HZ / 2
    bins_hz = torch.linspace(0, nyquist_hz, WINDOW_SAMPLES // 2 + 1, dtype=torch.float64)
    top_mel = 2595.0 * math.log10(1.0 + nyquist_hz / 700.0)
    edges_mel = torch.linspace(0, top_mel, n_mels + 2, dtype=torch.float64)
    edges_hz = 700.0 * (10.0 ** (edges_mel / 2595.0) - 1.0)
    rising = (bins_hz[:, None] - edges_hz[:-2]) / (edges_hz[1:-1] - edges_hz[:-2])
    falling = (edges_hz[2:] - bins_hz[:, None]) / (edges_hz[2:] - edges_hz[1:-1])
    return torch.minimum(rising, falling).clamp(min=0).float()


class LogMel(nn.Module):
    """Waveform to normalised log-mel.

    STFT of 2048 samples, periodic Hann, centred with reflect padding; power; 128 mel bands;
    10 log10(max(power, 1e-10)); last frame dropped; minus mean, over standard deviation.
    """

    window: Tensor
    filterbank: Tensor

    def __init__(self, hop_samples: int, n_mels: int, mean_db: float, std_db: float) -> None:
        super().__init__()
        self.hop_samples = hop_samples
        self.mean_db = mean_db
        self.std_db = std_db
        # Derived, not learned: kept out of the state dict, as upstream.
        self.register_buffer("window", torch.hann_window(WINDOW_SAMPLES), persistent=False)
        self.register_buffer("filterbank", mel_filterbank(n_mels), persistent=False)

    def forward(self, waveform: Tensor) -> Tensor:
        """(batch, samples) float, more than 1024 samples -> (batch, mels, samples // hop)."""
        # Half precision overflows: also under autocast this stays float32, or
        # float64 in a module of float64.
        with torch.autocast(waveform.device.type, enabled=False):
            spectrum = torch.stft(
                waveform.to(torch.promote_types(self.window.dtype, torch.float32)),
                WINDOW_SAMPLES,
                self.hop_samples,
                window=self.window,
                center=True,
                pad_mode="reflect",
                return_complex=True,
            )
            power = spectrum.abs().pow(2.0)
            mel = torch.matmul(power.transpose(-1, -2), self.filterbank).transpose(-1, -2)
            decibel = 10.0 * torch.log10(mel.clamp(min=FLOOR))
            return (decibel[..., :-1] - self.mean_db) / self.std_db
