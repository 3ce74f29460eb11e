"""Tokens of whole tracks on disk, and crops that come with theirs (paper section 3.3)."""

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from ...common.console import progress
from ...common.files import atomic_file
from ...errors import AudioError
from ...reference.config import SAMPLE_RATE_HZ
from ...reference.rvq import ResidualVectorQuantize
from .crops import Batch, Crops, Skipped, Track, read_samples

_WINDOW_SECONDS = 30.0


class Tokenizer(nn.Module):
    """Waveform to tokens, by an RVQ of a mel or a latent: (1, samples) -> (1, codebooks, steps)."""

    def __init__(self, source: nn.Module, rvq: ResidualVectorQuantize, step_samples: int) -> None:
        super().__init__()
        self.source = source
        self.rvq = rvq
        self.step_samples = step_samples

    def forward(self, waveform: Tensor) -> Tensor:
        """(batch, samples) -> (batch, codebooks, steps)."""
        tokens: Tensor = self.rvq(self.source(waveform.to(next(self.rvq.parameters()).device)))[1]
        return tokens

    @torch.no_grad()
    def tokens_of(self, track: Track) -> np.ndarray:
        """A whole track's tokens, window by window: (codebooks, steps) uint16."""
        step = self.step_samples
        window = round(_WINDOW_SECONDS * SAMPLE_RATE_HZ / step) * step
        whole = int(track.seconds * SAMPLE_RATE_HZ) // step * step
        # The last window takes the remainder, which may be too short for one of its own.
        starts = range(0, max(1, whole // window) * window, window)
        parts = []
        for start in starts:
            stop = whole if start == starts[-1] else start + window
            waveform = torch.from_numpy(read_samples(track.path, start, stop - start))
            parts.append(self(waveform[None])[0].cpu().numpy().astype(np.uint16))
        return np.concatenate(parts, axis=1)


def label_file(folder: Path, track: Track) -> Path:
    """Where a track's tokens are: named by its path, so that no two share one."""
    name = hashlib.sha256(str(track.path).encode(errors="surrogateescape")).hexdigest()[:32]
    return folder / f"{name}.npy"


def store_each(
    title: str, tracks: Sequence[Track], folder: Path, compute: Callable[[Track], np.ndarray]
) -> list[Skipped]:
    """Write one array for each track, to its ``label_file``. What is there already is kept, so an
    interrupted run goes on.

    Args:
        title: of the progress bar.
        tracks: whose arrays.
        folder: where they go.
        compute: makes one; AudioError where the track cannot be used.

    Returns:
        The tracks that cannot be used; all others have their arrays.
    """
    skipped: list[Skipped] = []
    with progress(title, len(tracks)) as bar:
        for track in tracks:
            path = label_file(folder, track)
            try:
                if not path.is_file():
                    array = compute(track)
                    with atomic_file(path) as temporary:
                        np.save(temporary, array)
            except AudioError as error:
                skipped.append(Skipped(track.path, str(error)))
            bar.advance(track.path.name)
    return skipped


class TokenizedCrops(Crops):
    """Crops that begin at whole steps, with the tokens extracted for them.

    Args:
        tracks: that have labels in ``folder``, each as long as a crop.
        folder: where ``store_each`` wrote them.
        step_samples: waveform samples between two tokens.
        samples, seed: as for ``Crops``.
    """

    def __init__(
        self, tracks: Sequence[Track], samples: int, seed: int, folder: Path, step_samples: int
    ) -> None:
        super().__init__(tracks, samples, seed, grid_samples=step_samples)
        self._folder = folder
        self._steps = samples // step_samples

    def __getitem__(self, index: int) -> Batch:
        """Crop ``index`` and its tokens, (1, codebooks, steps) int64."""
        crop, skipped = self.draw(index)
        tokens = np.load(label_file(self._folder, crop.track), mmap_mode="r")
        first = crop.start // self.grid_samples
        wanted = np.array(tokens[:, first : first + self._steps], dtype=np.int64)
        inputs = (torch.from_numpy(crop.waveform)[None], torch.from_numpy(wanted)[None])
        return Batch(inputs, skipped)
