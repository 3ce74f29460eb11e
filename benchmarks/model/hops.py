"""A live stream's hop: what it costs, against computing its whole window anew in PyTorch."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from ...runtime.bundle.manifest import Artefact, Bundle
from ...runtime.streaming.stream import HOP_SECONDS, WINDOW_SECONDS, SlidingConfig
from ..measure.agreement import Agreement
from ..measure.contenders import eager, hidden_states, live_stream
from ..measure.latency import Cell, music
from ..measure.timing import EAGER, Timing, by_turns, compare

if TYPE_CHECKING:
    from ...reference.muq import MuQ

_BUDGET_SECONDS = 90.0


@dataclass(frozen=True, kw_only=True)
class HopTime(Timing):
    """One contender on the hops of one stream, whose window is full.

    Attributes:
        threads: CPU threads of the contender.
        real_time_factor: median seconds for each second of audio.
        streams_per_core: how many streams a core keeps up with in turn.
        agreement: the first full window's features compared with eager's.
    """

    threads: int
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
        artefacts: which of the bundle's to measure.
        threads: CPU threads of each contender.
        hops: how many to time, 0.5 s each, with windows of 10 s.
        allow_uncertified: report a contender whose answer is not the reference's, marked.
    """
    # 10 s for all bundles, whatever length their tags are meant for.
    sliding = SlidingConfig.every(bundle.framing, window_seconds=WINDOW_SECONDS)
    window = music(Cell(WINDOW_SECONDS, 1))
    chunks = np.split(window, round(WINDOW_SECONDS / HOP_SECONDS), axis=1)
    reference = eager(model, threads)
    states = hidden_states(model, window)
    runs = {EAGER: partial(reference.run, window)}
    agreements = {EAGER: reference.check("a whole window", reference.run(window), states)}
    for artefact in artefacts:
        contender = live_stream(bundle, artefact, threads, sliding)
        for chunk in chunks:
            answer = contender.run(chunk)
        checked = contender.check("a live stream", answer, states, allow_uncertified)
        agreements[artefact.name] = checked
        runs[artefact.name] = partial(contender.run, chunks[0])
    found = []
    for timing in compare(by_turns(runs, hops, _BUDGET_SECONDS, warm_up=True)):
        factor = timing.median_seconds / HOP_SECONDS
        hop_time = HopTime(
            **vars(timing),
            threads=threads,
            real_time_factor=factor,
            streams_per_core=1 / (factor * threads),
            agreement=agreements[timing.contender],
        )
        found.append(hop_time)
    return found
