"""Encoders whose features are probed: an engine's session, and the log-mel that MuQ starts from."""

import numpy as np
import torch

from ...reference.mel import LogMel
from ...runtime.engines.session import WAVEFORM, Session
from ...runtime.inference.results import FEATURES
from ...training.probe.features import pooled_over_parts

HIDDEN_STATES = "hidden_states"
_HOP_SAMPLES, _MELS = 240, 128


class SessionEncoder:
    """A session as an encoder: all of its hidden states, or its features if it has none."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._output = HIDDEN_STATES if HIDDEN_STATES in session.outputs else FEATURES
        self.identity = f"{session.artefact_sha256}-{self._output}"

    def __call__(self, waveforms: np.ndarray, parts: int) -> np.ndarray:
        """See ``Encoder``."""
        states = self._session.run({WAVEFORM: waveforms}, [self._output])[self._output]
        return pooled_over_parts(states if states.ndim == 4 else states[:, None], parts)


class MelEncoder:
    """MuQ's log-mel in dB, pooled like any model's features."""

    identity = f"mel-{_MELS}"

    def __init__(self) -> None:
        self._mel = LogMel(_HOP_SAMPLES, _MELS, 0.0, 1.0)

    @torch.no_grad()
    def __call__(self, waveforms: np.ndarray, parts: int) -> np.ndarray:
        """See ``Encoder``."""
        frames = self._mel(torch.from_numpy(waveforms)).transpose(1, 2)[:, None].numpy()
        return pooled_over_parts(frames, parts)
