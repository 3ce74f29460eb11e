"""A live stream's hop: what it costs, against computing its whole window anew in PyTorch."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from ...runtime.bundle.manifest import Artefact, Bundle
from ...runtime.streaming.stream import HOP_SECONDS, WINDOW_SECONDS, SlidingConfig
from ..measure.contenders import EAGER, eager, hidden_states, live_stream
from ..measure.latency import Agreement, Cell, agreement, music
from ..measure.timing import by_turns, ratios, spread

if TYPE_CHECKING:
    from ...reference.muq import MuQ

# No new hop is begun after it, except the third.
_BUDGET_SECONDS = 90.0


@dataclass(frozen=True)
class HopTime:
    """One contender on the hops of one stream, whose window is full.

    Attributes:
        contender: its name.
        threads: that it was given.
        samples_seconds: each hop's.
        speedup: the median over the hops of eager's seconds over this contender's.
        real_time_factor: median seconds for each second of audio.
        streams_per_core: how many streams a core keeps up with, one after the other.
        agreement: of the first full window's features with eager's.
    """

    contender: str
    threads: int
    samples_seconds: list[float]
    median_seconds: float
    p10_seconds: float
    p90_seconds: float
    speedup: float
    real_time_factor: float
    streams_per_core: float
    agreement: Agreement


def measure_hops(
    model: "MuQ",
    bundle: Bundle,
    artefacts: Sequence[Artefact],
    threads: int,
    hops: int,
    allow_uncertified: bool = False,
) -> list[HopTime]:
    """Time the hops of one stream on every artefact, by turns with eager on a whole window.

    Args:
        model: the reference.
        bundle: made from it.
        artefacts: of the bundle.
        threads: of each contender.
        hops: how many are wanted, of 0.5 s, with windows of 10 s.
        allow_uncertified: report a contender whose answer is not the reference's, marked.

    Raises:
        ParityError: an answer is not the reference's.
    """
    # Not of the length that the bundle's tags are for: 10 s for everyone.
    sliding = SlidingConfig.every(bundle.framing, window_seconds=WINDOW_SECONDS)
    window = music(Cell(WINDOW_SECONDS, 1))
    chunks = np.split(window, round(WINDOW_SECONDS / HOP_SECONDS), axis=1)
    reference = eager(model, threads)
    states = hidden_states(model, window)
    runs = {EAGER: partial(reference.run, window)}
    agreements = {EAGER: agreement(reference, reference.run(window), states, window, EAGER)}
    for artefact in artefacts:
        contender = live_stream(bundle, artefact, threads, sliding)
        for chunk in chunks:
            answer = contender.run(chunk)
        agreements[artefact.name] = agreement(
            contender, answer, states, window, "a live stream", allow_uncertified
        )
        runs[artefact.name] = partial(contender.run, chunks[0])
    samples = by_turns(runs, hops, _BUDGET_SECONDS, warm_up=True)
    return [_hop_time(name, threads, samples, agreements[name]) for name in runs]


def _hop_time(
    contender: str, threads: int, samples: dict[str, list[float]], found: Agreement
) -> HopTime:
    seconds = spread(samples[contender])
    factor = seconds.median / HOP_SECONDS
    return HopTime(
        contender=contender,
        threads=threads,
        samples_seconds=samples[contender],
        median_seconds=seconds.median,
        p10_seconds=seconds.p10,
        p90_seconds=seconds.p90,
        speedup=spread(ratios(samples[EAGER], samples[contender])).median,
        real_time_factor=factor,
        streams_per_core=1 / (factor * threads),
        agreement=found,
    )
