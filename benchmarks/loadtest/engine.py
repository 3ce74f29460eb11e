"""The load on the streaming engine in this process, without a server."""

import time
from collections.abc import Sequence

from ...common.console import Bar
from ...errors import MuqrtError
from ...runtime.streaming.engine import Push, Streaming
from ...runtime.streaming.stream import Stream
from .outcome import Outcome, expected_hops
from .plan import Life, Music

# How long an engine that cannot keep up may continue after the streams have ended.
_DRAIN_SECONDS = 10.0


def run_in_process(
    streaming: Streaming, lives: Sequence[Life], music: Music, outcome: Outcome, bar: Bar
) -> None:
    """Play the lives in real time: everything that has arrived goes into one ``advance``."""
    positions = {life: 0 for life in lives if life.delivered}
    streams: dict[Life, Stream] = {}
    end = max(life.chunks[-1].at_seconds for life in lives) + _DRAIN_SECONDS
    outcome.expected_hops = sum(expected_hops(life, streaming.sliding) for life in lives)
    outcome.busy_seconds = 0.0
    began = time.perf_counter()
    shown = 0
    while positions and (now := time.perf_counter() - began) < end:
        next_chunk = min(life.chunks[position].at_seconds for life, position in positions.items())
        if next_chunk > now:
            time.sleep(next_chunk - now)
            continue
        taken = _taken(positions, now)
        for life in taken.keys() - streams.keys():
            streams[life] = streaming.open(life.rate_hz)
            outcome.opened += 1
        pushes = [
            Push(streams[life], music.of(life, first, stop), stop == len(life.chunks))
            for life, (first, stop) in taken.items()
        ]
        start = time.perf_counter()
        results = streaming.advance(pushes)
        answered = time.perf_counter()
        outcome.busy_seconds += answered - start
        for (life, (first, stop)), result in zip(taken.items(), results, strict=True):
            outcome.audio_seconds += life.seconds(first, stop)
            if isinstance(result, MuqrtError):
                outcome.fail(result)
            else:
                outcome.answer(life, [hop.end_seconds for hop in result], answered - began)
            positions[life] = stop
            if stop == life.delivered:
                outcome.vanished += life.vanishes
                del positions[life], streams[life]
        bar.advance(f"{len(outcome.answers)} answers", int(now) - shown)
        shown = int(now)


def _taken(positions: dict[Life, int], now: float) -> dict[Life, tuple[int, int]]:
    """The chunks of each life that have arrived: the first, and the one after the last."""
    taken = {}
    for life, position in positions.items():
        stop = life.arrived(position, now)
        if stop > position:
            taken[life] = (position, stop)
    return taken
