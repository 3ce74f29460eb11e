"""LogMel for PyTorch: an operator that runs on every device, compiles and exports."""

import torch
from torch import Tensor

from . import contract as mel
from .checks import frames_of


@torch.library.custom_op("muqrt::log_mel", mutates_args=())
def log_mel(waveform: Tensor, mean_db: float, std_db: float, dtype: torch.dtype) -> Tensor:
    """The normalised log-mel, in float32 also under autocast; one fused kernel on CUDA.

    Args:
        waveform: (batch, samples) float32, more than 1024 samples.
        mean_db, std_db: what the dB are normalised by.
        dtype: of the output: float32, float16 or bfloat16.

    Returns:
        (batch, 128, samples // 240): (dB - mean) / standard deviation.

    Raises:
        SessionError: another rank or dtype, or too few samples.
    """
    frames = frames_of(waveform, dtype)
    with torch.autocast(waveform.device.type, enabled=False):
        hann = torch.hann_window(mel.WINDOW_SAMPLES, device=waveform.device)
        spectrum = torch.stft(
            waveform,
            mel.WINDOW_SAMPLES,
            mel.HOP_SAMPLES,
            window=hann,
            center=True,
            pad_mode="reflect",
            return_complex=True,
        )
        filterbank = torch.from_numpy(mel.mel_filterbank()).to(hann)
        mel_power = filterbank.T @ spectrum[..., :frames].abs().square()
        decibels = 10 * mel_power.clamp(min=mel.FLOOR).log10()
        return ((decibels - mean_db) / std_db).to(dtype)


@log_mel.register_kernel("cuda")
def _fused(waveform: Tensor, mean_db: float, std_db: float, dtype: torch.dtype) -> Tensor:
    from . import triton as log_mel_triton  # only machines with CUDA are sure to have it

    return log_mel_triton.log_mel(waveform, mean_db, std_db, dtype)


@log_mel.register_fake
def _shape(waveform: Tensor, mean_db: float, std_db: float, dtype: torch.dtype) -> Tensor:
    frames = waveform.shape[1] // mel.HOP_SAMPLES
    return waveform.new_empty((waveform.shape[0], mel.MELS, frames), dtype=dtype)
