"""Latency of every contender on real music, for every window and batch."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from ...errors import ParityError
from ...export.parity.excerpts import EXAMPLE_FILES, EXAMPLES, Excerpt, dithered
from ...export.parity.measuring import measure
from ...runtime.audio import read as audio
from ...runtime.bundle.certificate import THRESHOLDS
from .contenders import EAGER, Contender, States
from .neighbours import watch_neighbours
from .timing import by_turns, ratios, spread, stopwatch

# A cell (one window and batch) is measured in fewer rounds rather than for longer than this.
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


@dataclass(frozen=True)
class Latency:
    """One contender on one cell.

    ``speedup`` is the median over the rounds of eager's seconds over this contender's.
    ``first_call_seconds`` includes whatever is done once per shape, such as compiling.
    ``matches`` says whether its answer on this very input is the reference's within its
    precision's thresholds. ``neighbours_share`` is how much of the cores' time other programs took
    while the cell was measured, 0 to 1.
    """

    contender: str
    precision: str
    threads: int
    window_seconds: float
    batch: int
    samples_seconds: list[float]
    median_seconds: float
    p10_seconds: float
    p90_seconds: float
    p99_seconds: float
    speedup: float
    speedup_p10: float
    speedup_p90: float
    audio_seconds_per_second: float
    first_call_seconds: float
    worst_frame_cosine: float
    relative_l2: float
    matches: bool
    neighbours_share: float


@dataclass(frozen=True)
class Agreement:
    """How near an answer is to the reference's, and whether that is near enough."""

    worst_frame_cosine: float
    relative_l2: float
    matches: bool


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
        threads: that the contenders were made with.
        contenders: eager first.
        states: the reference's, of ``music(cell)``.
        rounds: how many are wanted; slow cells get fewer, but at least three.
        unavailable: gets the reason why an optional contender did not start.
        allow_uncertified: report a contender whose answer is not the reference's, marked.

    Raises:
        ParityError: the answer of one that is not optional is not the reference's.
    """
    waveform = music(cell)
    first_seconds: dict[str, float] = {}
    agreements: dict[str, Agreement] = {}
    runs = {each.name: partial(each.run, waveform) for each in contenders}
    for contender in contenders:
        try:
            first_seconds[contender.name], answer = _timed_answer(contender, waveform)
        except Exception as error:  # a compiler can fail in any way
            if not contender.optional:
                raise
            unavailable[contender.name] = _first_line(error)
            del runs[contender.name]
            continue
        agreements[contender.name] = agreement(
            contender, answer, states, waveform, str(cell), allow_uncertified
        )
    neighbours_share = watch_neighbours()
    samples = by_turns(runs, rounds, _CELL_SECONDS, warm_up=True)
    busy = neighbours_share()
    return [
        _latency(
            cell, threads, each, samples, first_seconds[each.name], agreements[each.name], busy
        )
        for each in contenders
        if each.name in runs
    ]


def _timed_answer(contender: Contender, waveform: np.ndarray) -> tuple[float, States]:
    answers: list[States] = []
    seconds = stopwatch(lambda: answers.append(contender.run(waveform)))
    return seconds, answers[0]


def agreement(
    contender: Contender,
    answer: States,
    states: States,
    waveform: np.ndarray,
    what: str,
    allow_uncertified: bool = False,
) -> Agreement:
    """Compare what a contender said of a waveform with the reference's hidden states.

    Args:
        contender: whose answer it is.
        answer: what it is.
        states: the reference's.
        waveform: (batch, samples) float32.
        what: the input's name for the error.
        allow_uncertified: no error.

    Raises:
        ParityError: it is not the reference's within the contender's precision, and the contender
            is not optional.
    """
    excerpt = Excerpt("benchmark", waveform)
    found = measure(
        excerpt.name, excerpt.seconds, contender.name, answer[-1], contender.expected(states)
    )
    matches = found.passes(THRESHOLDS[contender.precision])
    if not (matches or contender.optional or allow_uncertified):
        raise ParityError(
            f"{contender.name} on {what}: not the reference's numbers (worst frame cosine "
            f"{found.worst_frame_cosine:.7f}, relative L2 {found.relative_l2:.2e}), so its speed "
            "is not reported. See: muqrt parity, or use --allow-uncertified."
        )
    return Agreement(found.worst_frame_cosine, found.relative_l2, matches)


def _latency(
    cell: Cell,
    threads: int,
    contender: Contender,
    samples: dict[str, list[float]],
    first_call_seconds: float,
    agreement: Agreement,
    neighbours_share: float,
) -> Latency:
    ours = samples[contender.name]
    seconds = spread(ours)
    speedup = spread(ratios(samples[EAGER], ours))
    return Latency(
        contender=contender.name,
        precision=contender.precision,
        threads=threads,
        window_seconds=cell.window_seconds,
        batch=cell.batch,
        samples_seconds=ours,
        median_seconds=seconds.median,
        p10_seconds=seconds.p10,
        p90_seconds=seconds.p90,
        p99_seconds=seconds.p99,
        speedup=speedup.median,
        speedup_p10=speedup.p10,
        speedup_p90=speedup.p90,
        audio_seconds_per_second=cell.audio_seconds / seconds.median,
        first_call_seconds=first_call_seconds,
        worst_frame_cosine=agreement.worst_frame_cosine,
        relative_l2=agreement.relative_l2,
        matches=agreement.matches,
        neighbours_share=neighbours_share,
    )


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
