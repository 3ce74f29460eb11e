"""A frozen MuQ's hidden states on disk, so that the same clips are encoded only once."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from ...errors import AudioError
from ...reference.config import SAMPLE_RATE_HZ
from ...reference.muq import MuQ
from .crops import SILENCE, Track, read_samples
from .labels import label_file


@dataclass(frozen=True)
class Listener:
    """One hidden state of a MuQ, of clips that begin every half clip.

    Args:
        muq: in eval mode.
        level: which of its hidden states.
        samples: of a clip.
        autocast: makes the context of the precision it runs in.
    """

    muq: MuQ
    level: int
    samples: int
    autocast: Callable[[], AbstractContextManager[None]]

    @torch.no_grad()
    def states(self, track: Track) -> np.ndarray:
        """(clips, steps, width) float16. Silent clips are left out; a track shorter than a clip is
        repeated.

        Raises:
            AudioError: the track cannot be decoded, is silent, or has states beyond float16.
        """
        whole = int(track.seconds * SAMPLE_RATE_HZ)
        audio = read_samples(track.path, 0, whole)
        audio = audio if whole >= self.samples else np.resize(audio, self.samples)
        starts = range(0, len(audio) - self.samples + 1, self.samples // 2)
        clips = [audio[start : start + self.samples] for start in starts]
        device = next(self.muq.parameters()).device
        found = []
        for clip in clips:
            if np.abs(clip).max() < SILENCE:
                continue
            with self.autocast():
                states = self.muq(torch.from_numpy(clip)[None].to(device)).hidden_states[self.level]
            found.append(states.to(torch.float16).cpu().numpy())
        if not found:
            raise AudioError(f"{track.path}: silent.")
        states_of_clips = np.concatenate(found)
        if not np.isfinite(states_of_clips).all():
            raise AudioError(f"{track.path}: MuQ's hidden states are not finite in float16.")
        return states_of_clips


@dataclass(frozen=True)
class StoredStates:
    """One clip of a track, drawn from the stored arrays of ``Listener.states``."""

    folder: Path

    def __call__(self, track: Track, random: np.random.Generator) -> np.ndarray:
        """(steps, width) float32.

        Raises:
            AudioError: the track could not be used.
        """
        path = label_file(self.folder, track)
        if not path.is_file():
            raise AudioError(f"{track.path}: no states are stored for this track.")
        clips = np.load(path, mmap_mode="r")
        return np.array(clips[random.integers(len(clips))], dtype=np.float32)
