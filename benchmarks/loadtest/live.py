"""The load on a server: every stream in real time, each request after the answer before it."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress

from ...common.console import Bar
from ...errors import ServerError
from ...triton_repo.client.connection import BusyError
from .music import Music
from .outcome import Outcome, expected_hops
from .plan import Life
from .served import ServedStreams, new_sequence

_ASK_EVERY_SECONDS = 1.0


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
    async with readiness_watched(served, outcome, show):
        await asyncio.gather(*(_play(served, life, music, outcome, began) for life in lives))


@asynccontextmanager
async def readiness_watched(
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
