"""Latency of every contender on real music, for every window and batch."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from ...export.parity.excerpt import EXAMPLE_FILES, EXAMPLES, dithered
from ...runtime.audio import read as audio
from .agreement import Agreement
from .contenders import Contender, States
from .neighbours import watch_neighbours
from .timing import Timing, by_turns, compare, ratios, spread, stopwatch

# Reduce the rounds of a cell (one window and batch) rather than measure it for longer than this.
_CELL_SECONDS = 90.0


@dataclass(frozen=True)
class Cell:
    """One input: a batch of windows of music."""

    window_seconds: float
    batch: int

    @property
    def audio_seconds(self) -> float:
        """How much music it holds."""
        return self.window_seconds * self.batch

    def __str__(self) -> str:
        return f"{self.window_seconds:g} s x {self.batch}"


@dataclass(frozen=True, kw_only=True)
class Latency(Timing, Agreement):
    """One contender on one cell, and how near its answer on that cell is to the reference's.

    Attributes:
        precision: whose thresholds its answer is held to.
        threads: CPU threads of the contender.
        window_seconds, batch: the cell.
        p99_seconds: 99th percentile.
        speedup_p10, speedup_p90: percentiles over the rounds of eager's seconds over these.
        audio_seconds_per_second: how much music it gets through.
        first_call_seconds: includes whatever is done once per shape, such as compiling.
        neighbours_share: of all cores' time, taken by other programs meanwhile, 0 to 1.
    """

    precision: str
    threads: int
    window_seconds: float
    batch: int
    p99_seconds: float
    speedup_p10: float
    speedup_p90: float
    audio_seconds_per_second: float
    first_call_seconds: float
    neighbours_share: float

    @property
    def cell(self) -> Cell:
        """Its input."""
        return Cell(self.window_seconds, self.batch)


def music(cell: Cell) -> np.ndarray:
    """The packaged clips as (batch, samples) float32 at 24 kHz, in a loop where they are short."""
    names = [EXAMPLE_FILES[row % len(EXAMPLE_FILES)] for row in range(cell.batch)]
    clips = {name: dithered(audio.load(EXAMPLES / name)) for name in set(names)}
    samples = round(cell.window_seconds * audio.SAMPLE_RATE_HZ)
    return np.stack([np.resize(clips[name], samples) for name in names])


def measure_cell(
    cell: Cell,
    threads: int,
    contenders: Sequence[Contender],
    states: States,
    rounds: int,
    unavailable: dict[str, str],
    allow_uncertified: bool = False,
) -> list[Latency]:
    """Warm up and check every contender, then time them by turns.

    Args:
        cell: the input.
        threads: CPU threads the contenders were made with.
        contenders: eager first.
        states: the reference's hidden states for ``music(cell)``.
        rounds: how many rounds to run; slow cells get fewer, but at least three.
        unavailable: gets the reason why an optional contender did not start.
        allow_uncertified: report a contender whose answer is not the reference's, marked.
    """
    waveform = music(cell)
    started: dict[str, tuple[Contender, float, Agreement]] = {}
    for contender in contenders:
        try:
            first_call_seconds, answer = _timed_answer(contender, waveform)
        except Exception as error:  # a compiler can fail in any way
            if not contender.optional:
                raise
            unavailable[contender.name] = _first_line(error)
            continue
        checked = contender.check(str(cell), answer, states, allow_uncertified)
        started[contender.name] = contender, first_call_seconds, checked
    neighbours_share = watch_neighbours()
    runs = {name: partial(each.run, waveform) for name, (each, *_) in started.items()}
    timings = compare(by_turns(runs, rounds, _CELL_SECONDS, warm_up=True))
    busy = neighbours_share()
    eager = timings[0].samples_seconds
    found = []
    for timing in timings:
        contender, first_call_seconds, checked = started[timing.contender]
        speedup = spread(ratios(eager, timing.samples_seconds))
        latency = Latency(
            **vars(timing),
            **vars(checked),
            precision=contender.precision,
            threads=threads,
            window_seconds=cell.window_seconds,
            batch=cell.batch,
            p99_seconds=spread(timing.samples_seconds).p99,
            speedup_p10=speedup.p10,
            speedup_p90=speedup.p90,
            audio_seconds_per_second=cell.audio_seconds / timing.median_seconds,
            first_call_seconds=first_call_seconds,
            neighbours_share=busy,
        )
        found.append(latency)
    return found


def _timed_answer(contender: Contender, waveform: np.ndarray) -> tuple[float, States]:
    answers: list[States] = []
    seconds = stopwatch(lambda: answers.append(contender.run(waveform)))
    return seconds, answers[0]


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
