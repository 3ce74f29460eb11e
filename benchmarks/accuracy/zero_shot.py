"""Evaluate every contender's towers on every task that needs no training."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ...common.files import atomic_file, sha256
from ...errors import AudioError, UsageError
from ...reference.config import SAMPLE_RATE_HZ
from ...runtime.text.cache import TextCache
from ...runtime.text.labels import unit
from ...training.data.crops import SILENCE, Skipped, Track, read_samples, usable_tracks
from ...training.data.manifest import Recording
from ...training.probe.features import LEAST_SECONDS
from .contenders import Contender
from .evaluation import Evaluation, Result
from .metrics import require_measurable
from .towers import Towers
from .zero_shot_tasks import ZeroShotTask


def check_towers(contenders: Sequence[Contender], tasks: Sequence[ZeroShotTask]) -> None:
    """Raise UsageError if there are tasks, but a contender without towers."""
    for contender in contenders:
        if tasks and not contender.towers:
            raise UsageError(
                f"{contender.name} has no text tower, which --task {tasks[0].name} needs: leave it "
                "out, or give a MuQ-MuLan's bundle or --checkpoint."
            )


def evaluate_zero_shot(
    done: Evaluation,
    contenders: Sequence[Contender],
    tasks: Sequence[ZeroShotTask],
    cache: Path,
    on_step: Callable[[str], None] = lambda doing: None,
) -> None:
    """Measure every contender at every task that needs no training.

    Args:
        done: gets the results, the files left out and the answers.
        contenders: each with towers.
        tasks: what ``zero_shot_tasks`` returns.
        cache: folder of embeddings already computed.
        on_step: called with what is being done, once for each pair of towers, task and recording.
    """
    for contender in contenders:
        for task in tasks:
            advance = partial(on_step, f"{contender.name}, {task.name}")
            done.results.append(_result(contender, task, cache, advance, done))


def _result(
    contender: Contender,
    task: ZeroShotTask,
    cache: Path,
    on_step: Callable[[], None],
    done: Evaluation,
) -> Result:
    metrics: dict[str, list[float]] = {}
    for seed, open_towers in enumerate(contender.towers):
        with open_towers() as towers:
            usable, music = _embedded(towers, task, cache, on_step, done.skipped)
            texts = TextCache(cache / "texts.sqlite", towers.text_identity)
            found = task.measure(usable, music, partial(texts.embed, embed=towers.embed_texts))
        require_measurable(task.name, found.metrics, len(usable))
        for name, value in found.metrics.items():
            metrics.setdefault(name, []).append(value)
        about: dict[str, Any] = {"contender": contender.name, "task": task.name, "seed": seed}
        done.predictions.extend({**about, **each} for each in found.answers)
    tracks = {"train": 0, "valid": 0, "test": len(usable)}
    return Result(contender.name, task.name, tracks, found.texts, metrics)


def _embedded(
    towers: Towers,
    task: ZeroShotTask,
    cache: Path,
    on_step: Callable[[], None],
    skipped: list[Skipped],
) -> tuple[list[Recording], np.ndarray]:
    """The recordings that can be used, and their embeddings (recordings, width), of length one.

    Embeddings are cached by the tower and the hash of the file's bytes.
    """
    tracks, unusable = usable_tracks(task.recordings, LEAST_SECONDS)
    for _ in unusable:
        on_step()
    by_path = {each.audio: each for each in task.recordings}
    usable: list[Recording] = []
    music: list[np.ndarray] = []
    for track in tracks:
        try:
            music.append(_embedding(towers, track, cache))
            usable.append(by_path[track.path])
        except AudioError as error:
            unusable.append(Skipped(track.path, str(error)))
        on_step()
    skipped.extend(each for each in unusable if each not in skipped)
    if not usable:
        raise AudioError(
            f"task {task.name!r}: none of {len(task.recordings)} recordings can be used; the "
            f"first: {unusable[0].reason}"
        )
    return usable, unit(np.stack(music))


def _embedding(towers: Towers, track: Track, cache: Path) -> np.ndarray:
    path = cache / f"{towers.audio_identity}-joint" / f"{sha256(track.path)}.npy"
    try:
        kept: np.ndarray = np.load(path)
    except (OSError, ValueError, EOFError):  # not there, or damaged since
        samples = read_samples(track.path, 0, int(track.seconds * SAMPLE_RATE_HZ))
        if np.abs(samples).max() < SILENCE:
            raise AudioError(f"{track.path}: silent.") from None
        kept = towers.embed_audio(samples)
        with atomic_file(path) as temporary:
            np.save(temporary, kept)
    return kept
