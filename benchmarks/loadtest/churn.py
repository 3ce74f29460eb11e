"""Endurance: thousands of short streams in turn, a third of them killed without END."""

import asyncio
import random

from ...common.console import Bar
from ...common.retry import Retry
from ...errors import ServerError
from ...triton_repo.client.connection import BACKOFF, BusyError
from .live import readiness_watched
from .music import Music
from .outcome import Outcome
from .served import ServedStreams, new_sequence

_CHUNK_SECONDS = 0.1
_MOST_CHUNKS = 3
_KILLED_EVERY = 3


async def churn(
    served: ServedStreams,
    streams: int,
    at_once: int,
    music: Music,
    outcome: Outcome,
    bar: Bar,
    seed: int = 0,
) -> None:
    """Open and close streams as fast as the server takes them.

    Each sends one to three chunks. Half of those that are killed go silent; the others disconnect
    while a request is on its way. A stream that is refused tries again until it is taken.

    Args:
        served: the server.
        streams: how many there are in all.
        at_once: how many are open at the same time.
        music: what they play.
        outcome: gets the counts.
        bar: moves on after each stream.
        seed: random seed.
    """
    chance = random.Random(seed)
    numbers = iter(range(streams))

    async def in_turn() -> None:
        for number in numbers:
            retry = Retry(BACKOFF)
            while True:
                try:
                    await _short_life(served, number, music, outcome, chance)
                    break
                except BusyError as error:
                    outcome.refused += 1
                    await asyncio.sleep(retry.pause_after(error))
                except ServerError as error:
                    outcome.fail(error)
                    break
            bar.advance(f"{outcome.refused} refusals, {outcome.errors.total()} errors")

    async with readiness_watched(served, outcome):
        await asyncio.gather(*(in_turn() for _ in range(at_once)))


async def _short_life(
    served: ServedStreams,
    number: int,
    music: Music,
    outcome: Outcome,
    chance: random.Random,
) -> None:
    sequence, place = new_sequence(), chance.random()
    rate_hz = served.sliding.framing.sample_rate_hz
    size, chunks = round(_CHUNK_SECONDS * rate_hz), chance.randint(1, _MOST_CHUNKS)
    killed = number % _KILLED_EVERY == 0
    interrupted = killed and chance.random() < 0.5
    for index in range(chunks):
        is_last = index == chunks - 1
        samples = music.excerpt(place, index * size, (index + 1) * size)
        if is_last and interrupted:
            await served.abandon(sequence, index, samples)
        else:
            await served.send(sequence, index, samples, is_last and not killed)
        outcome.opened += index == 0
        outcome.audio_seconds += len(samples) / rate_hz
    outcome.vanished += killed
