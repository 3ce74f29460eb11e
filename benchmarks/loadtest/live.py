"""The load on a server: streams in real time, or thousands of short ones in turn.

Each request of a stream is sent after the answer to the one before it.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress

from ...common.console import Bar
from ...common.retry import Retry
from ...errors import ServerError
from ...triton_repo.client.connection import BACKOFF, BusyError
from .outcome import Outcome, expected_hops
from .plan import Life, Music
from .served import ServedStreams, new_sequence

_ASK_EVERY_SECONDS = 1.0
# What the short streams send, and which of them end without END.
_CHUNK_SECONDS = 0.1
_MOST_CHUNKS = 3
_KILLED_EVERY = 3


async def run_on_server(
    served: ServedStreams,
    lives: Sequence[Life],
    music: Music,
    outcome: Outcome,
    bar: Bar,
) -> None:
    """Play the lives in real time. A failure is counted, and its stream ends."""

    def show() -> None:
        bar.advance(f"{len(outcome.answers)} answers, {outcome.refused} refused")

    began = asyncio.get_running_loop().time()
    async with _readiness_watched(served, outcome, show):
        await asyncio.gather(*(_play(served, life, music, outcome, began) for life in lives))


@asynccontextmanager
async def _readiness_watched(
    served: ServedStreams, outcome: Outcome, on_step: Callable[[], None] = lambda: None
) -> AsyncIterator[None]:
    """Ask the server once a second whether it is ready, and call ``on_step``."""

    async def ask() -> None:
        while True:
            outcome.ready.append(await served.ready())
            on_step()
            await asyncio.sleep(_ASK_EVERY_SECONDS)

    asking = asyncio.create_task(ask())
    try:
        yield
    finally:
        asking.cancel()
        with suppress(asyncio.CancelledError):
            await asking


async def _play(
    served: ServedStreams,
    life: Life,
    music: Music,
    outcome: Outcome,
    began: float,
) -> None:
    loop, sequence = asyncio.get_running_loop(), new_sequence()
    index = position = 0
    try:
        while position < life.delivered:
            await asyncio.sleep(began + life.chunks[position].at_seconds - loop.time())
            # A timer may fire a moment early. What came while the answer was awaited goes at once.
            stop = max(position + 1, life.arrived(position, loop.time() - began))
            samples = music.of(life, position, stop)
            ends = await served.send(sequence, index, samples, stop == len(life.chunks))
            outcome.answer(life, ends, loop.time() - began)
            outcome.audio_seconds += life.seconds(position, stop)
            outcome.opened += index == 0
            index, position = index + 1, stop
        if life.vanishes:
            await asyncio.sleep(began + life.chunks[-1].at_seconds - loop.time())
            await served.abandon(sequence, index, music.of(life, position, position + 1))
            outcome.vanished += 1
    except BusyError:
        outcome.refused += 1
        return
    except ServerError as error:
        outcome.fail(error)
    outcome.expected_hops += expected_hops(life, served.sliding)


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

    async with _readiness_watched(served, outcome):
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
