"""Windows of growing length: peak memory and seconds, each in a fresh process of its own.

Memory grows differently from engine to engine, and what does not fit is part of the answer: a
process has a limit, and one that reaches it is reported so.
"""

import json
import re
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from ...common.process.fresh import fresh_process
from ...common.process.resident import peak_rss_bytes
from ...errors import SessionError
from ...runtime.bundle.certificate import Precision
from ...runtime.bundle.manifest import Bundle
from ..measure.report import Report, Section
from ..measure.timing import EAGER
from .cold_start import ColdStartRequest, load

# What PyTorch, ONNX Runtime, numpy and the system say when there is no more.
_NO_MEMORY = re.compile("memory|alloc|temporarily unavailable", re.IGNORECASE)
_COLUMNS = (
    "window",
    "contender",
    "peak memory, GB",
    "seconds",
    "processor seconds",
    "relative L2",
    "worst cosine",
)
_NOTE = (
    "One window of music through the whole model, each in a fresh process: its first answer after "
    "loading, and the largest resident memory it ever had, weights and libraries included. "
    "*processor seconds* are those of all threads together, which neighbours disturb less. "
    "*relative L2* and *worst cosine* compare the features with eager's."
)


@dataclass(frozen=True)
class LengthRequest(ColdStartRequest):
    """``answer`` is the file that the process writes its features to."""

    answer: str = ""
    memory_bytes: int | None = None


@dataclass(frozen=True, kw_only=True)
class LengthResult:
    """One contender on one window.

    Attributes:
        window_seconds: the window.
        contender: its name.
        failure: why there is no answer; None where there is one.
        peak_rss_bytes: the largest resident memory of its process.
        answer_seconds: from waveform to features.
        processor_seconds: of all threads, in that time.
        relative_l2, worst_frame_cosine: its features against eager's, where eager has them.
    """

    window_seconds: float
    contender: str
    failure: str | None = None
    peak_rss_bytes: int | None = None
    answer_seconds: float | None = None
    processor_seconds: float | None = None
    relative_l2: float | None = None
    worst_frame_cosine: float | None = None

    def row(self) -> list[str]:
        """Its cells in the table."""
        figures = (
            (None if self.peak_rss_bytes is None else self.peak_rss_bytes / 1e9, "{:.2f}"),
            (self.answer_seconds, "{:.1f}"),
            (self.processor_seconds, "{:.1f}"),
            (self.relative_l2, "{:.1e}"),
            (self.worst_frame_cosine, "{:.7f}"),
        )
        cells = ["" if value is None else form.format(value) for value, form in figures]
        if self.failure is not None:
            cells[0] = self.failure
        return [f"{self.window_seconds:g} s", self.contender, *cells]


@dataclass(frozen=True, kw_only=True)
class LengthReport(Report):
    """One run of ``muqrt bench lengths``.

    Attributes:
        checkpoint: its name.
        threads: CPU threads of each contender.
        memory_bytes: what a process may use; None for no limit.
        lengths: every contender on every window.
    """

    checkpoint: str
    threads: int
    memory_bytes: int | None
    lengths: list[LengthResult]

    def results(self) -> list[Section]:
        """One table: a row for each contender on each window."""
        title = f"Long windows on {self.environment['cpu']}, threads: {self.threads}"
        rows = [each.row() for each in self.lengths]
        return [Section(title, _COLUMNS, rows, f"{_NOTE} Checkpoint: {self.checkpoint}.")]


def measure_lengths(
    bundle: Bundle,
    checkpoint: str,
    windows_seconds: Sequence[float],
    threads: int,
    memory_bytes: int | None = None,
    allow_uncertified: bool = False,
    on_step: Callable[[str], None] = lambda what: None,
) -> LengthReport:
    """Run eager and every artefact that takes audio on each window.

    Args:
        bundle: whose artefacts.
        checkpoint: what the bundle was made from.
        windows_seconds: the windows.
        threads: CPU threads of each contender.
        memory_bytes: what a process may use of its own; None for no limit.
        allow_uncertified: run artefacts without a certificate, too.
        on_step: called after each process.

    Raises:
        ParityError: an answer is not the reference's.
    """
    from ...export.sources.checkpoint import load_source, require_source

    require_source(bundle, load_source(checkpoint))
    artefacts = [each for each in bundle.audio_artefacts if each.certified or allow_uncertified]
    found: list[LengthResult] = []
    with tempfile.TemporaryDirectory() as folder:
        waveform, answer, truth = (str(Path(folder) / f"{n}.npy") for n in "xyt")
        eager = LengthRequest(
            EAGER,
            waveform,
            threads,
            checkpoint=checkpoint,
            answer=truth,
            memory_bytes=memory_bytes,
        )
        for seconds in windows_seconds:
            np.save(waveform, _music(seconds))
            found.append(_measured(eager, seconds, "fp32", None))
            on_step(f"{EAGER}, {seconds:g} s")
            expected = None if found[-1].failure else truth
            for each in artefacts:
                request = LengthRequest(
                    each.name,
                    waveform,
                    threads,
                    bundle=str(bundle.folder),
                    artefact=each.name,
                    answer=answer,
                    memory_bytes=memory_bytes,
                )
                found.append(_measured(request, seconds, each.precision, expected))
                on_step(f"{each.name}, {seconds:g} s")
    return LengthReport(
        checkpoint=Path(checkpoint).name,
        threads=threads,
        memory_bytes=memory_bytes,
        lengths=found,
    )


def _music(seconds: float) -> np.ndarray:
    from ..measure.latency import Cell, music

    return music(Cell(seconds, 1))


def _measured(
    request: LengthRequest, seconds: float, precision: Precision, expected: str | None
) -> LengthResult:
    from ..measure.agreement import agreement

    found = LengthResult(window_seconds=seconds, contender=request.contender)
    try:
        module = "muqrt.benchmarks.model.lengths"
        _, facts = fresh_process(module, request.contender, asdict(request))
    except SessionError as error:
        if request.memory_bytes is None or not _NO_MEMORY.search(str(error)):
            raise
        return replace(found, failure=f"over {request.memory_bytes / 1e9:g}")
    found = replace(found, **facts)
    if expected is None:
        return found
    what = f"{request.contender} on {seconds:g} s"
    near = agreement(what, precision, np.load(request.answer), np.load(expected))
    return replace(found, relative_l2=near.relative_l2, worst_frame_cosine=near.worst_frame_cosine)


def _main() -> None:
    request = LengthRequest(**json.loads(sys.argv[1]))
    if request.memory_bytes is not None:
        # Memory of its own: weights that are mapped from a file do not count.
        resource.setrlimit(resource.RLIMIT_DATA, (request.memory_bytes, request.memory_bytes))
    run, waveform = load(request), np.load(request.waveform)
    processor, clock = time.process_time(), time.perf_counter()
    answer = run(waveform)[-1]
    facts = {
        "answer_seconds": time.perf_counter() - clock,
        "processor_seconds": time.process_time() - processor,
        "peak_rss_bytes": peak_rss_bytes(),
    }
    np.save(request.answer, answer)
    print(json.dumps(facts), flush=True)


if __name__ == "__main__":
    _main()
