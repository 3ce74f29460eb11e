"""Run many live streams, whose windows share the engine's runs.

The front end runs only on what is new of a window and on its edges (see ``frames.py``), the encoder
on the whole window. So every answer is the one that the window alone would give.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np

from ...errors import AudioError, MuqrtError, SessionError, UsageError
from ..bundle.parts import FRAMES
from ..bundle.tagging import TAGS
from ..engines.session import Arrays, Session, check_finite
from ..inference.batching import batches
from .stream import SlidingConfig, Stream, StreamWindow

# On two cores larger ones cost more for each window (16: an eighth to a quarter more), and smaller
# ones no less.
BATCH_SIZE = 4


@dataclass(frozen=True, eq=False)
class Hop:
    """The model's outputs for a window that has just ended.

    Attributes:
        start_seconds: where the window begins in its stream.
        end_seconds: where it ends.
        outputs: by name, without the batch: ``tags`` float32 (tags,), and so on.
        is_last: whether the stream ends with it.
        is_silent: whether the window is silent; its ``tags`` are zeros then.
    """

    start_seconds: float
    end_seconds: float
    outputs: Arrays
    is_last: bool
    is_silent: bool = False


@dataclass(frozen=True, eq=False)
class Push:
    """More of a stream: what ``Stream.append`` takes."""

    stream: Stream
    chunk: np.ndarray | None
    is_last: bool = False


@dataclass(eq=False)
class _Job:
    """A window on its way through the engine.

    ``index`` is its push's, whose hops are ``hops``; ``array`` is what goes in next.
    """

    index: int
    hops: list[Hop]
    stream: Stream
    window: StreamWindow
    array: np.ndarray
    outputs: Arrays = field(default_factory=dict)


class Streaming:
    """Runs the windows of any number of streams. One thread at a time may use it.

    Args:
        session: runs the model, and is not closed with this object.
        sliding: the windows; one every half second when left out.
        outputs: which of the session's outputs are wanted.
        batch_size: how many windows are in one run of the engine.
        runs: how many runs of the engine at the same time. Small models with many streams get more
            from runs of one thread each than from threads in one run.

    Raises:
        UsageError: an output that the model does not have, or a batch size or runs below 1.
    """

    def __init__(
        self,
        session: Session,
        sliding: SlidingConfig | None = None,
        outputs: Sequence[str] = (TAGS,),
        batch_size: int = BATCH_SIZE,
        runs: int = 1,
    ) -> None:
        unknown = [name for name in outputs if name not in session.outputs]
        if unknown or not outputs:
            raise UsageError(
                f"no output {', '.join(unknown) or 'was named'}; this model has: "
                f"{', '.join(session.outputs)}. Tags need a bundle with a head."
            )
        if batch_size < 1 or runs < 1:
            raise UsageError(f"batch size {batch_size}, {runs} runs; each must be at least 1.")
        self.session = session
        self.sliding = sliding or SlidingConfig.every(session.framing, session.tagging)
        self._outputs, self._batch_size = list(outputs), batch_size
        self._runs = runs
        self._each = map if runs == 1 else ThreadPoolExecutor(runs, "streaming").map
        self._front_end: Session | None = None
        self._encoder = session
        if session.parts is not None and set(outputs) <= set(session.parts.encoder.outputs):
            self._front_end, self._encoder = session.parts

    def open(self, rate_hz: int | None = None, name: str = "stream") -> Stream:
        """A new stream, of samples at ``rate_hz``, or at the model's rate.

        Raises:
            AudioError: an implausible rate.
        """
        if rate_hz is None:
            rate_hz = self.session.framing.sample_rate_hz
        return Stream(self.sliding, rate_hz, self._front_end, name)

    def push(self, stream: Stream, chunk: np.ndarray) -> list[Hop]:
        """Append a chunk to one stream; returns the hops of the windows that end in it.

        Raises:
            AudioError: what ``Stream.append`` refuses. SessionError: the engine failed.
        """
        return _or_raise(self.advance([Push(stream, chunk)])[0])

    def finish(self, stream: Stream) -> list[Hop]:
        """End one stream; its last window ends where it does.

        There is none if a window had already ended there; then no hop had ``is_last``.

        Raises:
            AudioError: it was too short, or had ended. SessionError: the engine failed.
        """
        return _or_raise(self.advance([Push(stream, None, is_last=True)])[0])

    def advance(self, pushes: Sequence[Push]) -> list[list[Hop] | MuqrtError]:
        """Append to several streams; their windows run together.

        Returns:
            For each push its hops, or what was wrong, which does not concern the others: an
            AudioError of ``Stream.append``, or a SessionError if the engine's numbers for it are
            not finite. Then the stream has lost this push's hops so far, and may go on.

        Raises:
            UsageError: a stream that is pushed twice, before anything has changed.
            SessionError: the engine failed. The hops so far are lost; the streams may go on.
        """
        if len({push.stream for push in pushes}) < len(pushes):
            raise UsageError("a stream is pushed twice at once; join its chunks.")
        results: list[list[Hop] | MuqrtError] = [_appended(push) for push in pushes]
        # A stream's next window needs the frames of the one before.
        while jobs := _next_jobs(pushes, results):
            self._run(jobs)
            for job in jobs:
                try:
                    job.hops.append(self._hop(job))
                except SessionError as error:
                    job.stream.forget_frames()
                    results[job.index] = error
        return results

    def _run(self, jobs: list[_Job]) -> None:
        """Compute the jobs' outputs, shared equally among the runs."""
        shares = [jobs[first :: self._runs] for first in range(self._runs)]
        for _ in self._each(self._run_share, shares):
            pass

    def _run_share(self, jobs: list[_Job]) -> None:
        if self._front_end is not None:
            excerpts = []
            for job in jobs:
                assert job.stream.frames is not None
                excerpts.append(job.stream.frames.excerpt(job.window.start_step, job.array))
                job.array = excerpts[-1].waveform
            self._run_in_batches(jobs, self._front_end, [FRAMES])
            for job, excerpt in zip(jobs, excerpts, strict=True):
                assert job.stream.frames is not None
                job.array = job.stream.frames.complete(excerpt, job.outputs[FRAMES])
        self._run_in_batches(jobs, self._encoder, self._outputs)

    def _run_in_batches(self, jobs: list[_Job], engine: Session, outputs: list[str]) -> None:
        (name,) = engine.inputs
        for batch in batches(jobs, lambda job: job.array.shape, self._batch_size):
            together = np.concatenate([job.array for job in batch])
            found = engine.run({name: together}, outputs)
            for i, job in enumerate(batch):
                # Copied, or one stream would keep the whole batch in memory.
                job.outputs = {each: array[i : i + 1].copy() for each, array in found.items()}

    def _hop(self, job: _Job) -> Hop:
        for name, array in job.outputs.items():
            check_finite(array, name, job.stream.name)
        framing = self.session.framing
        start, silent = job.window.start_step * framing.step_samples, job.window.is_silent
        outputs = {name: array[0] for name, array in job.outputs.items()}
        if silent and TAGS in outputs:
            outputs[TAGS] = np.zeros_like(outputs[TAGS])
        return Hop(
            start / framing.sample_rate_hz,
            (start + job.window.waveform.shape[1]) / framing.sample_rate_hz,
            outputs,
            job.window.is_last,
            silent,
        )


def _appended(push: Push) -> list[Hop] | MuqrtError:
    """An empty list of hops, or the error with which the stream refuses the chunk."""
    try:
        push.stream.append(push.chunk, push.is_last)
    except AudioError as error:
        return error
    return []


def _next_jobs(pushes: Sequence[Push], results: Sequence[list[Hop] | MuqrtError]) -> list[_Job]:
    """The next window of every stream that has one."""
    jobs = []
    for index, (push, hops) in enumerate(zip(pushes, results, strict=True)):
        if isinstance(hops, list) and (window := push.stream.next_window()) is not None:
            jobs.append(_Job(index, hops, push.stream, window, window.waveform))
    return jobs


def _or_raise(found: list[Hop] | MuqrtError) -> list[Hop]:
    if isinstance(found, MuqrtError):
        raise found
    return found
