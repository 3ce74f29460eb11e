"""Join a track's windows to its results: features, embedding, tags, tokens."""

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple, TypeVar

import numpy as np

from ...errors import AudioError, MissingDependencyError
from ..audio.tracks import AudioFile, Track
from ..bundle.joint import LATENTS, Joint
from ..bundle.scoring import SCORES, Scoring, TrackScores
from ..bundle.tagging import TAGS, Tagging, TrackTags
from ..bundle.tokens import TOKENS, Tokenizer
from ..engines.session import require_output
from .batching import Failure, Job
from .clips import ClippingConfig, LastClip
from .runner import OnWindow, Runner
from .windows import Window, WindowingConfig

FEATURES, EMBEDDING = "features", "embedding"

_Value = TypeVar("_Value")
_Result = TypeVar("_Result")
# Every track with its result or its failure, in order.
Results = Iterator[tuple[Track, _Result | AudioError | MissingDependencyError]]


class Clips(NamedTuple):
    """A track's clips.

    Attributes:
        latents: float32 (clips, width), their embeddings, each of length one.
        silent: bool (clips,), which of them are silent.
    """

    latents: np.ndarray
    silent: np.ndarray

    @property
    def mean(self) -> np.ndarray:
        """Float32 (width,): the mean embedding of the clips that are not silent, if there is one;
        not of length one."""
        heard = ~self.silent | self.silent.all()
        found: np.ndarray = self.latents[heard].mean(axis=0)
        return found


def stitched(
    runner: Runner, windowing: WindowingConfig, tracks: Iterable[Track], on_window: OnWindow | None
) -> Iterator[tuple[Window, np.ndarray]]:
    """Every window with the features kept of it, float32 (steps, width); the first failure is
    raised."""
    for done in runner.run(tracks, windowing, lambda window: FEATURES, on_window):
        if isinstance(done, Failure):
            raise done.error
        yield done.window, done.window.trim(done.result)


def embeddings(
    runner: Runner, windowing: WindowingConfig, tracks: Iterable[Track], on_window: OnWindow | None
) -> Results[np.ndarray]:
    """Every track with the mean over time of its features, float32 (width,)."""
    has_embedding = EMBEDDING in runner.session.outputs

    def output_of(window: Window) -> str:
        # A track of one window need not send its features from a server to be averaged here.
        return EMBEDDING if has_embedding and window.is_whole_track else FEATURES

    total, steps = np.zeros(1), 0
    for done in runner.run(tracks, windowing, output_of, on_window):
        if isinstance(done, Failure):
            yield done.track, done.error
        elif done.output == EMBEDDING:
            yield done.track, done.result.copy()
        else:
            if done.window.start_step == 0:
                total, steps = np.zeros(1), 0
            kept = done.window.trim(done.result)
            total = total + kept.sum(axis=0, dtype=np.float64)
            steps += len(kept)
            if done.window.is_last:
                yield done.track, (total / steps).astype(np.float32)


def track_tags(
    runner: Runner,
    tracks: Iterable[Track],
    hop_seconds: float | None,
    on_window: OnWindow | None,
) -> Results[TrackTags]:
    """Every track with its tags."""
    tagging, framing = require_output(runner.session, Tagging), runner.session.framing
    windowing = WindowingConfig.every(framing, tagging.window_seconds, hop_seconds)

    def window_tags(job: Job) -> tuple[float, float, np.ndarray, bool]:
        start_seconds = job.window.keep.start / framing.steps_per_second
        end_seconds = windowing.end_seconds(job.window)
        return start_seconds, end_seconds, job.result, job.window.is_silent

    def joined(windows: list[tuple[float, float, np.ndarray, bool]]) -> TrackTags:
        starts, ends, scores, silent = zip(*windows, strict=True)
        edges_seconds = np.array([*starts, ends[-1]])
        return TrackTags(tagging, edges_seconds, np.stack(scores), silent=np.array(silent))

    jobs = runner.run(tracks, windowing, lambda window: TAGS, on_window)
    yield from _by_track(jobs, window_tags, joined)


def track_scores(
    runner: Runner, tracks: Iterable[Track], on_window: OnWindow | None
) -> Results[TrackScores]:
    """Every track with its scores."""
    scoring, framing = require_output(runner.session, Scoring), runner.session.framing
    if scoring.window_seconds == "whole":
        windowing = WindowingConfig.of(framing, "whole")
    else:
        windowing = WindowingConfig.every(framing, scoring.window_seconds)

    def joined(windows: list[tuple[float, float, np.ndarray]]) -> TrackScores:
        starts, ends, scores = zip(*windows, strict=True)
        return TrackScores(scoring, np.array([*starts, ends[-1]]), np.stack(scores))

    def window_scores(job: Job) -> tuple[float, float, np.ndarray]:
        start_seconds = job.window.keep.start / framing.steps_per_second
        return start_seconds, windowing.end_seconds(job.window), job.result

    jobs = runner.run(tracks, windowing, lambda window: SCORES, on_window)
    yield from _by_track(jobs, window_scores, joined)


def track_tokens(
    runner: Runner, windowing: WindowingConfig, tracks: Iterable[Track], on_window: OnWindow | None
) -> Results[np.ndarray]:
    """Every track with its tokens, int32 (stages, steps).

    Those of a hidden state are stitched as features are, by ``windowing``; those of the log-mel are
    the same as if the whole track were one window.
    """
    if require_output(runner.session, Tokenizer).level is None:
        windowing = WindowingConfig.mel_tokens(windowing.framing)
    jobs = runner.run(tracks, windowing, lambda window: TOKENS, on_window)
    yield from _by_track(
        jobs,
        lambda job: job.window.trim(job.result.T),
        lambda parts: np.ascontiguousarray(np.concatenate(parts).T),
    )


def track_clips(
    runner: Runner, tracks: Iterable[Track], last_clip: LastClip, on_window: OnWindow | None
) -> Results[Clips]:
    """Every track with its clips."""
    joint = require_output(runner.session, Joint)
    clipping = ClippingConfig(runner.session.framing, joint.clip_samples, last_clip)
    jobs = runner.run(tracks, clipping, lambda window: LATENTS, on_window)

    def joined(clips: list[tuple[np.ndarray, bool]]) -> Clips:
        latents, silent = zip(*clips, strict=True)
        return Clips(np.stack(latents), np.array(silent))

    yield from _by_track(jobs, lambda job: (job.result, job.window.is_silent), joined)


def clip_latents(
    runner: Runner, tracks: Iterable[Track], last_clip: LastClip, on_window: OnWindow | None
) -> Results[np.ndarray]:
    """Every track with the embeddings of its clips, float32 (clips, width), each of length one."""
    for track, clips in track_clips(runner, tracks, last_clip, on_window):
        yield track, clips.latents if isinstance(clips, Clips) else clips


def track_latents(
    runner: Runner, tracks: Iterable[Track], last_clip: LastClip, on_window: OnWindow | None
) -> Results[np.ndarray]:
    """Every track with the mean of its clips' embeddings, float32 (width,), not of length one."""
    for track, clips in clip_latents(runner, tracks, last_clip, on_window):
        yield track, clips.mean(axis=0) if isinstance(clips, np.ndarray) else clips


def _by_track(
    jobs: Iterable[Job | Failure],
    value: Callable[[Job], _Value],
    joined: Callable[[list[_Value]], _Result],
) -> Results[_Result]:
    """Every track with its windows' values joined; the windows themselves are not kept."""
    found: list[_Value] = []
    for done in jobs:
        if isinstance(done, Failure):
            yield done.track, done.error
            continue
        if done.window.start_step == 0:
            found = []
        found.append(value(done))
        if done.window.is_last:
            yield done.track, joined(found)


def or_raise(results: Results[_Result]) -> list[_Result]:
    """Every track's result; the first failure is raised."""
    found: list[_Result] = []
    for _, result in results:
        if isinstance(result, (AudioError, MissingDependencyError)):
            raise result
        found.append(result)
    return found


def by_file(results: Results[_Result]) -> Iterator[tuple[AudioFile, _Result | AudioError]]:
    """Every file with its result, or what is wrong with it."""
    for track, result in results:
        if isinstance(result, MissingDependencyError):
            result = AudioError(str(result))
        assert not isinstance(track.source, np.ndarray)
        yield track.source, result
