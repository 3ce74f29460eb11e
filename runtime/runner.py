"""Tracks through a session: cut into windows, batched, and every result checked."""

from collections.abc import Callable, Iterable, Iterator

import numpy as np

from ..errors import AudioError, MissingDependencyError, SessionError, UsageError
from .batching import Failure, Job, run_in_batches
from .session import Session
from .tracks import Track
from .windows import Window, Windowing

WAVEFORM = "waveform"

OnWindow = Callable[[Window], None]


class Runner:
    """Runs windows of one track or several, as many at once as fit a batch.

    Args:
        session: runs the batches.
        batch_size: how many windows of equal length to run at once.

    Raises:
        UsageError: a batch size below 1.
    """

    def __init__(self, session: Session, batch_size: int) -> None:
        if batch_size < 1:
            raise UsageError(f"batch size {batch_size}; it must be at least 1.")
        self.session = session
        self._batch_size = batch_size

    def run(
        self,
        tracks: Iterable[Track],
        windowing: Windowing,
        output_of: Callable[[Window], str],
        on_window: OnWindow | None = None,
    ) -> Iterator[Job | Failure]:
        """Every window of every track, in order, with its result; or a track's failure.

        Args:
            tracks: read lazily.
            windowing: how they are cut.
            output_of: which of the session's outputs is wanted for a window.
            on_window: called after each window.

        Raises:
            SessionError: the engine failed, or its numbers are not finite.
        """
        jobs = _jobs(tracks, windowing, output_of)
        for done in run_in_batches(jobs, self._run_batch, self._batch_size):
            if on_window is not None and isinstance(done, Job):
                on_window(done.window)
            yield done

    def _run_batch(self, jobs: list[Job]) -> None:
        """Run windows of equal length at once and give each its result, checked to be finite."""
        output = jobs[0].output
        waveform = np.stack([job.window.waveform for job in jobs])
        results = self.session.run({WAVEFORM: waveform}, [output])[output]
        if len(results) != len(jobs):
            raise SessionError(f"the engine gave {len(results)} {output} for {len(jobs)} windows.")
        if results.dtype.kind == "f":  # tokens are integers
            results = results.astype(np.float32, copy=False)
        for job, result in zip(jobs, results, strict=True):
            if not np.isfinite(result).all():
                seconds = job.window.start_step / self.session.framing.steps_per_second
                raise SessionError(
                    f"{job.track.name}: the engine gave NaN or infinite {output} for the window "
                    f"at {seconds:.1f} s. Use the fp32 artefact, or run muqrt parity on this one."
                )
            job.finish(result)


def _jobs(
    tracks: Iterable[Track], windowing: Windowing, output_of: Callable[[Window], str]
) -> Iterator[Job | Failure]:
    for track in tracks:
        blocks = track.blocks(windowing.framing.sample_rate_hz)
        try:
            for window in windowing.cut(blocks, track.name):
                yield Job(track, window, output_of(window))
        except (AudioError, MissingDependencyError) as error:
            yield Failure(track, error)
