"""Run tracks through a session: cut them into windows, batch these, and check every result."""

from collections.abc import Callable, Iterable, Iterator

import numpy as np

from ...errors import AudioError, MissingDependencyError, SessionError, UsageError
from ..audio.damage import USUAL, Tolerance
from ..audio.tracks import SECONDS_AHEAD, Track, prefetched_tracks
from ..engines.session import Session, check_finite
from .batching import Failure, Job, run_in_batches
from .clips import ClippingConfig
from .frames import OverlappingFrames
from .windows import Window, WindowingConfig

OnWindow = Callable[[Window], None]


class Runner:
    """Runs windows of one track or several, as many at once as fit a batch.

    Where windows overlap and the session has its model in parts, the front end runs on each part
    of a track once, window by window, and batches go through the encoder. Otherwise they go
    through the whole model. Meanwhile the next windows are decoded.

    Args:
        session: runs the batches.
        batch_size: how many windows of equal length to run at once.
        tolerance: how much damage of a file is accepted.
        seconds_ahead: how much audio to decode in advance.
    """

    def __init__(
        self,
        session: Session,
        batch_size: int,
        tolerance: Tolerance | None = None,
        seconds_ahead: int = SECONDS_AHEAD,
    ) -> None:
        if batch_size < 1:
            raise UsageError(f"batch size {batch_size}; it must be at least 1.")
        self.session = session
        self._batch_size = batch_size
        self._tolerance = tolerance or USUAL
        self._seconds_ahead = seconds_ahead

    def on(self, session: Session) -> "Runner":
        """The same on another session."""
        return Runner(session, self._batch_size, self._tolerance, self._seconds_ahead)

    def run(
        self,
        tracks: Iterable[Track],
        windowing: WindowingConfig | ClippingConfig,
        output_of: Callable[[Window], str],
        on_window: OnWindow | None = None,
    ) -> Iterator[Job | Failure]:
        """Every window of every track, in order, with its result; or a track's failure.

        Args:
            tracks: read lazily, in another thread.
            windowing: how they are cut.
            output_of: which of the session's outputs is wanted for a window.
            on_window: called after each window.
        """
        jobs = self._jobs(tracks, windowing, output_of)
        for done in run_in_batches(jobs, self._run_batch, self._batch_size):
            if on_window is not None and isinstance(done, Job):
                on_window(done.window)
            yield done

    def _jobs(
        self,
        tracks: Iterable[Track],
        windowing: WindowingConfig | ClippingConfig,
        output_of: Callable[[Window], str],
    ) -> Iterator[Job | Failure]:
        parts = self.session.parts if windowing.overlap_steps > 0 else None
        rate_hz = windowing.framing.sample_rate_hz
        ahead = prefetched_tracks(tracks, rate_hz, self._tolerance, self._seconds_ahead)
        for track, blocks in ahead:
            frames = None if parts is None else OverlappingFrames(parts.front_end)
            try:
                for window in windowing.cut(blocks, track.name):
                    output = output_of(window)
                    # Tokens of the log-mel need no frames.
                    if parts is None or frames is None or output not in parts.encoder.outputs:
                        yield Job(track, window, output, self.session, window.waveform)
                    else:
                        found = frames.of(window.start_step, window.waveform[None])
                        yield Job(track, window, output, parts.encoder, found[0])
            except (AudioError, MissingDependencyError) as error:
                yield Failure(track, error)

    def _run_batch(self, jobs: list[Job]) -> None:
        """Run jobs of one engine and equal shape at once; give each its result, checked to be
        finite."""
        engine, output = jobs[0].engine, jobs[0].output
        (name,) = engine.inputs
        results = engine.run({name: np.stack([job.input for job in jobs])}, [output])[output]
        if len(results) != len(jobs):
            raise SessionError(f"the engine gave {len(results)} {output} for {len(jobs)} windows.")
        if results.dtype.kind == "f":  # tokens are integers
            results = results.astype(np.float32, copy=False)
        for job, result in zip(jobs, results, strict=True):
            seconds = job.window.start_step / self.session.framing.steps_per_second
            check_finite(result, f"{output} for the window at {seconds:.1f} s", job.track.name)
            job.finish(result)
