"""Audio in; features, embeddings, tags, scores or tokens out, through any session."""

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import TypeVar, overload

import numpy as np

from ..errors import AudioError
from .audio.damage import Tolerance
from .audio.tracks import SECONDS_AHEAD, Audio, AudioFile, Audios, Track, as_tracks, one_track
from .bundle.scoring import TrackScores
from .bundle.tagging import TrackTags
from .engines.session import Session
from .inference.at_once import ResultsOf, at_once
from .inference.levels import Level, at_level
from .inference.results import (
    Results,
    by_file,
    embeddings,
    or_raise,
    stitched,
    track_scores,
    track_tags,
    track_tokens,
)
from .inference.runner import OnWindow, Runner
from .inference.windows import WindowingConfig, WindowLength, refuse_window
from .music_and_text import MusicAndText
from .text.encoder import TextEncoder

_Result = TypeVar("_Result")


class Model(MusicAndText):
    """A MuQ or MuQ-MuLan ready for use. A context manager; ``close`` frees its session.

    In every method ``x`` is an audio file's path or an array, (samples,) or (channels, samples),
    and ``rate_hz`` the array's sample rate; a file states its own. Several tracks are a list; of a
    batch (tracks, samples) that is ``list(batch)``. ``on_window`` is called after each window, in
    order.

    Long tracks are cut into overlapping windows and their features stitched: every step is there
    once, but a step sees its own window and no more, so the numbers depend on the windows. With
    ``window="whole"`` a track is one window, as in the official package, in memory that grows with
    its length; with ``window=60.0`` windows have that many seconds; when left out the bundle's.
    ``windowing(window).facts`` is what to store beside the results: do not mix two.

    Args:
        session: runs the windows, and is closed with the model.
        overlap_seconds: how much neighbouring windows share; 2 s, or a quarter of a short
            window, when left out.
        batch_size: how many windows of equal length, of one track or several, to run at once.
        open_texts: opens the text tower when texts are first asked for; it is closed with the
            model.
        tolerance: how much damage of a file is accepted, and who is told; the usual when None.
        seconds_ahead: how much audio to decode in advance, while the model runs.

    Attributes:
        framing: how audio is cut for the model.
        checkpoint: the name of what the model was exported from; empty for a server's.

    Every method raises AudioError for audio that cannot be used, UsageError for an array without
    its rate, and SessionError when the engine fails or its numbers are not finite.
    """

    def __init__(
        self,
        session: Session,
        overlap_seconds: float | None = None,
        batch_size: int = 1,
        open_texts: Callable[[], TextEncoder] | None = None,
        tolerance: Tolerance | None = None,
        seconds_ahead: int = SECONDS_AHEAD,
    ) -> None:
        super().__init__(session, batch_size, open_texts, tolerance, seconds_ahead)
        self.framing = session.framing
        self.checkpoint = session.checkpoint
        self._overlap_seconds = overlap_seconds
        self._windowing = self.windowing()

    def windowing(self, window: WindowLength | None = None) -> WindowingConfig:
        """How tracks are cut for features and embeddings.

        Raises:
            UsageError: no such window, or one that the overlap does not fit.
        """
        return WindowingConfig.of(self.framing, window, self._overlap_seconds)

    def _at(self, level: Level | None) -> Runner:
        """What runs windows for the features of a level; None for the bundle's own."""
        return self._runner if level is None else self._runner.on(at_level(self.session, level))

    @overload
    def features(
        self,
        x: Audio,
        rate_hz: int | None = None,
        on_window: OnWindow | None = None,
        window: WindowLength | None = None,
        level: Level | None = None,
    ) -> np.ndarray: ...

    @overload
    def features(
        self,
        x: Audios,
        rate_hz: int | None = None,
        on_window: OnWindow | None = None,
        window: WindowLength | None = None,
        level: Level | None = None,
    ) -> list[np.ndarray]: ...

    def features(
        self,
        x: Audio | Audios,
        rate_hz: int | None = None,
        on_window: OnWindow | None = None,
        window: WindowLength | None = None,
        level: Level | None = None,
    ) -> np.ndarray | list[np.ndarray]:
        """The features of one track, float32 (steps, width), or a list of such for a list.

        With a ``level`` they are that hidden state, and of several levels (steps, levels, width);
        with ``level="mix"`` the bundle's weighted sum of levels.

        Raises:
            BundleError: the bundle was exported without levels, or without a mix. UsageError: it
                has no such level.
        """
        tracks: list[np.ndarray] = []
        parts: list[np.ndarray] = []
        given, windowing = as_tracks(x, rate_hz), self.windowing(window)
        for piece, values in stitched(self._at(level), windowing, given, on_window):
            parts.append(values)
            if piece.is_last:
                tracks.append(np.concatenate(parts))
                parts = []
        return tracks if isinstance(x, (list, tuple)) else tracks[0]

    def stream_features(
        self,
        x: Audio,
        rate_hz: int | None = None,
        on_window: OnWindow | None = None,
        window: WindowLength | None = None,
        level: Level | None = None,
    ) -> Iterator[tuple[int, np.ndarray]]:
        """One track's features in memory that does not grow with its length, but for one window.

        Yields:
            (first step, ``features`` of the steps from it on), in order and without gaps.
        """
        given, windowing = [one_track(x, rate_hz)], self.windowing(window)
        for piece, values in stitched(self._at(level), windowing, given, on_window):
            yield piece.keep.start, values

    def embed(
        self,
        x: Audio | Audios,
        rate_hz: int | None = None,
        on_window: OnWindow | None = None,
        window: WindowLength | None = None,
        level: Level | None = None,
    ) -> np.ndarray:
        """The mean over time of a track's features, in memory that does not grow with its length
        unless the window does.

        Returns:
            float32 (width,), or (tracks, width) for a list; of several levels (levels, width).
        """
        given = as_tracks(x, rate_hz)
        found = or_raise(embeddings(self._at(level), self.windowing(window), given, on_window))
        return np.stack(found) if isinstance(x, (list, tuple)) else found[0]

    def embed_files(
        self,
        paths: Iterable[AudioFile],
        on_window: OnWindow | None = None,
        window: WindowLength | None = None,
        level: Level | None = None,
    ) -> Iterator[tuple[AudioFile, np.ndarray | AudioError]]:
        """Embed many files; one that cannot be used does not stop the others.

        Yields:
            (path, float32 (width,) or what is wrong with the file), in order.
        """
        runner, windowing = self._at(level), self.windowing(window)
        return by_file(self._at_once(partial(embeddings, runner, windowing), paths, on_window))

    @overload
    def tag(
        self,
        x: Audio,
        rate_hz: int | None = None,
        hop_seconds: float | None = None,
        on_window: OnWindow | None = None,
        window: None = None,
    ) -> TrackTags: ...

    @overload
    def tag(
        self,
        x: Audios,
        rate_hz: int | None = None,
        hop_seconds: float | None = None,
        on_window: OnWindow | None = None,
        window: None = None,
    ) -> list[TrackTags]: ...

    def tag(
        self,
        x: Audio | Audios,
        rate_hz: int | None = None,
        hop_seconds: float | None = None,
        on_window: OnWindow | None = None,
        window: None = None,
    ) -> TrackTags | list[TrackTags]:
        """The tags of one track, window by window and as a whole, or a list of such for a list.

        The windows are as long as the head was trained on, a new one beginning every
        ``hop_seconds``, half a window when left out.

        Raises:
            BundleError: the model has no tags. UsageError: the hop is longer than a window; or a
                ``window``, of which there is no choice.
        """
        refuse_window(window, "tags")
        given = as_tracks(x, rate_hz)
        found = or_raise(track_tags(self._runner, given, hop_seconds, on_window))
        return found if isinstance(x, (list, tuple)) else found[0]

    def tag_files(
        self,
        paths: Iterable[AudioFile],
        hop_seconds: float | None = None,
        on_window: OnWindow | None = None,
        window: None = None,
    ) -> Iterator[tuple[AudioFile, TrackTags | AudioError]]:
        """Tag many files; one that cannot be used does not stop the others.

        Yields:
            (path, its tags or what is wrong with the file), in order.

        Raises:
            UsageError: a ``window``, of which there is no choice.
        """
        refuse_window(window, "tags")

        def tags(tracks: Iterable[Track], heard: OnWindow | None) -> Results[TrackTags]:
            return track_tags(self._runner, tracks, hop_seconds, heard)

        return by_file(self._at_once(tags, paths, on_window))

    @overload
    def score(
        self, x: Audio, rate_hz: int | None = None, on_window: OnWindow | None = None
    ) -> TrackScores: ...

    @overload
    def score(
        self, x: Audios, rate_hz: int | None = None, on_window: OnWindow | None = None
    ) -> list[TrackScores]: ...

    def score(
        self, x: Audio | Audios, rate_hz: int | None = None, on_window: OnWindow | None = None
    ) -> TrackScores | list[TrackScores]:
        """The scores of one track, by a head that was trained elsewhere, or a list of such for a
        list.

        The windows are as long as the head asks for, a new one beginning every half window; or the
        whole track is one.

        Raises:
            BundleError: the model has no scores.
        """
        given = as_tracks(x, rate_hz)
        found = or_raise(track_scores(self._runner, given, on_window))
        return found if isinstance(x, (list, tuple)) else found[0]

    def score_files(
        self, paths: Iterable[AudioFile], on_window: OnWindow | None = None
    ) -> Iterator[tuple[AudioFile, TrackScores | AudioError]]:
        """Score many files; one that cannot be used does not stop the others.

        Yields:
            (path, its scores or what is wrong with the file), in order.
        """
        return by_file(self._at_once(partial(track_scores, self._runner), paths, on_window))

    @overload
    def tokens(
        self, x: Audio, rate_hz: int | None = None, on_window: OnWindow | None = None
    ) -> np.ndarray: ...

    @overload
    def tokens(
        self, x: Audios, rate_hz: int | None = None, on_window: OnWindow | None = None
    ) -> list[np.ndarray]: ...

    def tokens(
        self, x: Audio | Audios, rate_hz: int | None = None, on_window: OnWindow | None = None
    ) -> np.ndarray | list[np.ndarray]:
        """The tokens of one track, int32 (stages, steps), or a list of such for a list.

        Those of the log-mel do not depend on how a track is cut into windows.

        Raises:
            BundleError: the model has no tokens.
        """
        given = as_tracks(x, rate_hz)
        found = or_raise(track_tokens(self._runner, self._windowing, given, on_window))
        return found if isinstance(x, (list, tuple)) else found[0]

    def tokens_files(
        self, paths: Iterable[AudioFile], on_window: OnWindow | None = None
    ) -> Iterator[tuple[AudioFile, np.ndarray | AudioError]]:
        """Tokenize many files; one that cannot be used does not stop the others.

        Yields:
            (path, int32 (stages, steps) or what is wrong with the file), in order.
        """
        tokens = partial(track_tokens, self._runner, self._windowing)
        return by_file(self._at_once(tokens, paths, on_window))

    def _at_once(
        self,
        results_of: ResultsOf[_Result],
        paths: Iterable[AudioFile],
        on_window: OnWindow | None,
    ) -> Results[_Result]:
        """Every file's result, as many files at once as the session takes."""
        return at_once(results_of, map(one_track, paths), self.session.runs_at_once, on_window)
