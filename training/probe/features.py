"""Recordings as a frozen model's features: read once, encoded once, kept on disk."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Protocol

import numpy as np
import torch

from ...common.files import atomic_file, sha256
from ...errors import AudioError
from ...reference.config import SAMPLE_RATE_HZ
from ...reference.head import pooled
from ..data.crops import SILENCE, Skipped, Track, read_samples, usable_tracks
from ..data.manifest import Recording
from .fit import Examples
from .tasks import STEP_SECONDS, Task

LEAST_SECONDS = 0.05  # what the STFT needs
_STEP_SAMPLES = int(STEP_SECONDS * SAMPLE_RATE_HZ)
# A remainder shorter than this share of a window adds nothing to an answer for the recording.
_SMALLEST_REMAINDER = 0.1
_BATCH = 4  # windows


class Encoder(Protocol):
    """A model that turns audio into features.

    Attributes:
        identity: a file name that no other model's features share.
    """

    identity: str

    def __call__(self, waveforms: np.ndarray, parts: int) -> np.ndarray:
        """Encode windows of one length and pool over time.

        Args:
            waveforms: (windows, samples) float32, mono, at 24 kHz.
            parts: into how many equal parts the time is divided, to pool over each.

        Returns:
            (windows, parts, levels, 2 * width) float32.
        """
        ...


@dataclass(frozen=True, eq=False)
class Featured:
    """A recording and where its features are: in memory, or on disk, from where they are read each
    time they are asked for, so that a large corpus needs little memory.

    Attributes:
        recording: whose.
        rows: one for each window, or for every ``STEP_SECONDS`` of a stepwise task.
        source: a .npy file, or the features.
    """

    recording: Recording
    rows: int
    source: Path | np.ndarray

    @property
    def features(self) -> np.ndarray:
        """(rows, levels, 2 * width) float32.

        Raises:
            AudioError: they were changed on disk since.
        """
        if isinstance(self.source, np.ndarray):
            return self.source
        features = _read(self.source)
        if features is None or len(features) != self.rows:
            raise AudioError(f"{self.source}: these features were changed meanwhile. Start again.")
        return features


@dataclass(frozen=True)
class Windows:
    """How a recording is cut: ``starts`` and the length of each, in samples at 24 kHz."""

    starts: Sequence[int]
    samples: int


def pooled_over_parts(states: np.ndarray, parts: int) -> np.ndarray:
    """(windows, levels, steps, width) -> (windows, parts, levels, 2 * width) float32."""
    steps = states.shape[2]
    edges = np.linspace(0, steps, parts + 1).round().astype(int)
    exact = torch.from_numpy(states).double()
    pieces = [pooled(exact[:, :, start:end]) for start, end in pairwise(edges)]
    return torch.stack(pieces, 1).float().numpy()


def windows(seconds: float, task: Task) -> Windows:
    """Windows side by side that cover a recording; the last is moved back to end with it.

    A shorter recording is one window. Those of a stepwise task begin and end at whole steps.
    """
    grid = _STEP_SAMPLES if task.per_step else 1
    total = int(seconds * SAMPLE_RATE_HZ) // grid * grid
    samples = min(total, int(task.window_seconds * SAMPLE_RATE_HZ))
    starts = list(range(0, total - samples + 1, samples))
    remainder = total - starts[-1] - samples
    if remainder > (0 if task.per_step else _SMALLEST_REMAINDER * samples):
        starts.append(total - samples)
    return Windows(starts, samples)


def features_of(
    encoder: Encoder,
    recordings: Sequence[Recording],
    task: Task,
    cache: Path,
    on_step: Callable[[Path], None] = lambda path: None,
) -> tuple[list[Featured], list[Skipped]]:
    """Every recording's features, and what could not be used.

    Silent windows are left out, but not those of a stepwise task, which needs them all.

    Args:
        encoder: the model.
        recordings: which.
        task: how they are cut.
        cache: a folder; features found there, by the encoder's identity and the hash of the
            file's bytes, are not computed again.
        on_step: called once for every recording.

    Raises:
        AudioError: nothing could be used.
    """
    least_seconds = STEP_SECONDS if task.per_step else LEAST_SECONDS
    tracks, skipped = usable_tracks(recordings, least_seconds)
    for each in skipped:
        on_step(each.path)
    by_path = {recording.audio: recording for recording in recordings}
    cut = task.name if task.per_step else f"{task.window_seconds} s"
    folder = cache / encoder.identity / f"{cut}, mean and deviation"
    found: list[Featured] = []
    for track in tracks:
        path = folder / f"{sha256(track.path)}.npy"
        try:
            features = _read(path)
            source: Path | np.ndarray = path
            if features is None:
                features, reasons = _encoded(encoder, track, task)
                skipped += [Skipped(track.path, reason) for reason in reasons]
                if not reasons:  # or they would be forgotten
                    _write(path, features)
                else:
                    source = features
            found.append(Featured(by_path[track.path], len(features), source))
        except AudioError as error:
            skipped.append(Skipped(track.path, str(error)))
        on_step(track.path)
    if not found:
        raise AudioError(
            f"task {task.name!r}: none of {len(recordings)} recordings can be used; the first: "
            f"{skipped[0].reason}"
        )
    return found, skipped


def examples(found: Sequence[Featured], task: Task, labels: Sequence[str]) -> Examples:
    """Every row of every recording with its target."""
    targets = [task.targets(each.recording, labels, each.rows) for each in found]
    # One recording after the other into their place: a list of all would need twice the memory.
    features = np.empty(
        (sum(each.rows for each in found), *found[0].features.shape[1:]), np.float32
    )
    place = 0
    for each in found:
        features[place : place + each.rows] = each.features
        place += each.rows
    return Examples(features, np.concatenate(targets))


def _encoded(encoder: Encoder, track: Track, task: Task) -> tuple[np.ndarray, list[str]]:
    """(rows, levels, 2 * width), and why windows were left out."""
    cut = windows(track.seconds, task)
    # At once: an mp3 is decoded from its beginning, wherever one starts to read.
    samples = read_samples(track.path, 0, cut.starts[-1] + cut.samples)
    waveforms = [samples[start : start + cut.samples] for start in cut.starts]
    silent = [not task.per_step and np.abs(each).max() < SILENCE for each in waveforms]
    if all(silent) or np.abs(samples).max() < SILENCE:
        raise AudioError(f"{track.path}: silent.")
    heard = [each for each, is_silent in zip(waveforms, silent, strict=True) if not is_silent]
    parts = cut.samples // _STEP_SAMPLES if task.per_step else 1
    encoded = [
        encoder(np.stack(heard[first : first + _BATCH]), parts)
        for first in range(0, len(heard), _BATCH)
    ]
    features = np.concatenate(encoded)
    if not np.isfinite(features).all():
        raise AudioError(f"{track.path}: the model's features of it are NaN or infinite.")
    if task.per_step:
        # The last window was moved back over steps that the one before it has answered.
        new = zip(features, _new_steps(cut), strict=True)
        return np.concatenate([rows[len(rows) - count :] for rows, count in new]), []
    return features[:, 0], [
        f"{track.path}: silent from {start / SAMPLE_RATE_HZ:.1f} s on."
        for start, is_silent in zip(cut.starts, silent, strict=True)
        if is_silent
    ]


def _new_steps(cut: Windows) -> list[int]:
    """How many of each window's steps no earlier window has."""
    ends = [0, *(start + cut.samples for start in cut.starts)]
    return [(end - before) // _STEP_SAMPLES for before, end in pairwise(ends)]


def _read(path: Path) -> np.ndarray | None:
    try:
        features: np.ndarray = np.load(path)
    except (OSError, ValueError, EOFError):  # not there, or damaged since
        return None
    return features


def _write(path: Path, features: np.ndarray) -> None:
    with atomic_file(path) as temporary:
        np.save(temporary, features)
