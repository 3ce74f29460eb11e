"""Audio in, features or embeddings out, through any session, local or remote."""

from collections.abc import Callable, Iterable, Iterator
from os import PathLike, fspath
from types import TracebackType
from typing import Any, overload

import numpy as np

from ..errors import AudioError, MissingDependencyError, SessionError, UsageError
from .batching import Failure, Job, run_in_batches
from .bundle import load_bundle
from .session import Session
from .tracks import Audio, AudioFile, Audios, Track, as_tracks, one_track
from .windows import Window, Windowing

_OVERLAP_SECONDS = 2.0
WAVEFORM, FEATURES, EMBEDDING = "waveform", "features", "embedding"

OnWindow = Callable[[Window], None]


class Model:
    """A MuQ ready for use. A context manager; ``close`` frees its session.

    Everywhere ``x`` is an audio file's path or an array, (samples,) or (channels, samples), whose
    sample rate is ``rate_hz`` (a file knows its own). Long tracks are cut into overlapping windows
    and their features stitched. ``on_window`` is called after each window, in order.

    Args:
        session: runs the windows, and is closed with the model.
        overlap_seconds: how much neighbouring windows share; 2 s, or a quarter of a short
            window, when left out.
        batch_size: how many windows of equal length, of one track or several, to run at once.

    Every method raises AudioError for audio that cannot be used, UsageError for an array without
    its rate, and SessionError when the engine fails or its numbers are not finite.
    """

    def __init__(
        self, session: Session, overlap_seconds: float | None = None, batch_size: int = 1
    ) -> None:
        if batch_size < 1:
            raise UsageError(f"batch size {batch_size}; it must be at least 1.")
        self.session = session
        self.framing = session.framing
        self._batch_size = batch_size
        if overlap_seconds is None:
            window_seconds = self.framing.window_samples / self.framing.sample_rate_hz
            overlap_seconds = min(_OVERLAP_SECONDS, window_seconds / 4)
        overlap_steps = round(overlap_seconds * self.framing.steps_per_second)
        self._windowing = Windowing(self.framing, overlap_steps)

    @overload
    def features(
        self, x: Audio, rate_hz: int | None = None, on_window: OnWindow | None = None
    ) -> np.ndarray: ...

    @overload
    def features(
        self, x: Audios, rate_hz: int | None = None, on_window: OnWindow | None = None
    ) -> list[np.ndarray]: ...

    def features(
        self, x: Audio | Audios, rate_hz: int | None = None, on_window: OnWindow | None = None
    ) -> np.ndarray | list[np.ndarray]:
        """The features of one track, float32 (steps, width), or a list of such for a list."""
        tracks: list[np.ndarray] = []
        parts: list[np.ndarray] = []
        for window, values in self._features(as_tracks(x, rate_hz), on_window):
            parts.append(values)
            if window.is_last:
                tracks.append(np.concatenate(parts))
                parts = []
        return tracks if isinstance(x, (list, tuple)) else tracks[0]

    def stream_features(
        self, x: Audio, rate_hz: int | None = None, on_window: OnWindow | None = None
    ) -> Iterator[tuple[int, np.ndarray]]:
        """One track's features in memory that does not grow with its length.

        Yields:
            (first step, float32 (steps, width)), in order and without gaps.
        """
        for window, values in self._features([one_track(x, rate_hz)], on_window):
            yield window.keep.start, values

    def embed(
        self, x: Audio | Audios, rate_hz: int | None = None, on_window: OnWindow | None = None
    ) -> np.ndarray:
        """The mean over time of a track's features, in memory that does not grow with its length.

        Returns:
            float32 (width,), or (tracks, width) for a list.
        """
        embeddings = []
        for _, result in self._embeddings(as_tracks(x, rate_hz), on_window):
            if not isinstance(result, np.ndarray):
                raise result
            embeddings.append(result)
        return np.stack(embeddings) if isinstance(x, (list, tuple)) else embeddings[0]

    def embed_files(
        self, paths: Iterable[AudioFile], on_window: OnWindow | None = None
    ) -> Iterator[tuple[AudioFile, np.ndarray | AudioError]]:
        """Embed many files; one that cannot be used does not stop the others.

        Yields:
            (path, float32 (width,) or what is wrong with the file), in order.
        """
        for track, result in self._embeddings(map(one_track, paths), on_window):
            if isinstance(result, MissingDependencyError):
                result = AudioError(str(result))
            assert not isinstance(track.source, np.ndarray)
            yield track.source, result

    def close(self) -> None:
        """Close the session."""
        self.session.close()

    def __enter__(self) -> "Model":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _features(
        self, tracks: Iterable[Track], on_window: OnWindow | None
    ) -> Iterator[tuple[Window, np.ndarray]]:
        """Every window with the features kept of it; the first failure is raised."""
        for done in self._run(tracks, lambda window: FEATURES, on_window):
            if isinstance(done, Failure):
                raise done.error
            yield done.window, done.window.trim(done.result)

    def _embeddings(
        self, tracks: Iterable[Track], on_window: OnWindow | None
    ) -> Iterator[tuple[Track, np.ndarray | AudioError | MissingDependencyError]]:
        """Every track with its embedding or its failure."""
        has_embedding = EMBEDDING in self.session.outputs

        def output_of(window: Window) -> str:
            # A track of one window need not send its features from a server to be averaged here.
            return EMBEDDING if has_embedding and window.is_whole_track else FEATURES

        total, steps = np.zeros(1), 0
        for done in self._run(tracks, output_of, on_window):
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

    def _run(
        self,
        tracks: Iterable[Track],
        output_of: Callable[[Window], str],
        on_window: OnWindow | None,
    ) -> Iterator[Job | Failure]:
        jobs = self._jobs(tracks, output_of)
        for done in run_in_batches(jobs, self._run_batch, self._batch_size):
            if on_window is not None and isinstance(done, Job):
                on_window(done.window)
            yield done

    def _jobs(
        self, tracks: Iterable[Track], output_of: Callable[[Window], str]
    ) -> Iterator[Job | Failure]:
        for track in tracks:
            blocks = track.blocks(self.framing.sample_rate_hz)
            try:
                for window in self._windowing.cut(blocks, track.name):
                    yield Job(track, window, output_of(window))
            except (AudioError, MissingDependencyError) as error:
                yield Failure(track, error)

    def _run_batch(self, jobs: list[Job]) -> None:
        """Run windows of equal length at once and give each its result, checked to be finite."""
        output = jobs[0].output
        waveform = np.stack([job.window.waveform for job in jobs])
        results = self.session.run({WAVEFORM: waveform}, [output])[output]
        if len(results) != len(jobs):
            raise SessionError(f"the engine gave {len(results)} {output} for {len(jobs)} windows.")
        for job, result in zip(jobs, results.astype(np.float32, copy=False), strict=True):
            if not np.isfinite(result).all():
                seconds = job.window.start_step / self.framing.steps_per_second
                raise SessionError(
                    f"{job.track.name}: the engine gave NaN or infinite {output} for the window "
                    f"at {seconds:.1f} s. Use the fp32 artefact, or run muqrt parity on this one."
                )
            job.finish(result)


def load(
    folder: str | PathLike[str],
    artefact: str | None = None,
    threads: int | None = None,
    allow_uncertified: bool = False,
    **options: Any,
) -> Model:
    """Load a bundle's artefact on this machine's CPU.

    Args:
        folder: the bundle.
        artefact: its name; the bundle's first certified one when left out.
        threads: for the engine; all physical cores when left out.
        allow_uncertified: accept an artefact without a passing parity certificate.
        options: ``Model``'s ``overlap_seconds`` and ``batch_size``.

    Raises:
        BundleError: not a bundle, changed since it was exported, or not certified.
        SessionError: the engine refused the artefact.
    """
    return Model(open_bundle(folder, artefact, threads, allow_uncertified), **options)


def open_bundle(
    folder: str | PathLike[str],
    artefact: str | None = None,
    threads: int | None = None,
    allow_uncertified: bool = False,
) -> Session:
    """The session of a bundle's artefact; arguments and errors are those of ``load``."""
    # Here, because a client of a remote server needs no engine of its own.
    from .onnx_session import OnnxSession

    bundle = load_bundle(fspath(folder))
    chosen = bundle.artefact(artefact, allow_uncertified=allow_uncertified)
    return OnnxSession(bundle, chosen, threads)
