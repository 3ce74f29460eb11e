"""The WebSocket: live sound in, hops and events out; begun anew or resumed."""

import asyncio
import json
import time
from collections import Counter
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from ...errors import MuqrtError
from ...triton_repo.front.admission import Admission, AdmissionConfig
from ...triton_repo.front.asgi import App, Receive, RefusedError, Scope, Send, refuse
from ..access import STREAM
from ..answers import refusal_of
from ..limits import GatewayLimits
from ..query import arguments
from ..query import numbers as numbers_in
from .session import Live, LiveSession
from .sound import sound_of

_PROTOCOL = "muqrt"
# Besides format, rate, channels, session and received.
_RANGES = {
    "threshold": (0.0, 1.0),
    "top": (1, 10_000),
    "scores": (0, 1),  # whether hops tell every tag's
    "minimum_seconds": (0.0, 600.0),
    "release": (0.01, 1.0),
}
_NAMES = {"format", "rate", "channels", "session", "received", *_RANGES}
_NORMAL, _GOING_AWAY, _REFUSED = 1000, 1001, 4000
_LAST_SECONDS = 5.0
# Makes what runs streams, in the gateway's event loop, when the first one comes.
Opening = Callable[[], Any]


@dataclass(eq=False)
class _Kept:
    """A stream, and the socket that it is on.

    Attributes:
        session: the stream.
        client: whose slot it holds.
        left: set when its socket is no longer its: another has taken it over, or it is dropped.
        reading: takes what its socket, the last one, sends.
        expiry: drops it, while it is on no socket.
    """

    session: LiveSession
    client: str
    left: asyncio.Event = field(default_factory=asyncio.Event)
    reading: asyncio.Task[None] | None = None
    expiry: asyncio.TimerHandle | None = None


class StreamEndpoint:
    """Answers WebSockets for live streams; passes on all other requests.

    Args:
        app: the next.
        open_live: opens what runs streams; awaited.
        model_name: what answers call the model.
        limits: of streams.
    """

    def __init__(
        self, app: App, open_live: Opening, model_name: str, limits: GatewayLimits
    ) -> None:
        self._app, self._open_live, self._model_name = app, open_live, model_name
        self._limits = limits
        self._live: Live | None = None
        self._opening = asyncio.Lock()
        self._admission = Admission(AdmissionConfig(limits.streams, waiting=0))
        self._decoders = ThreadPoolExecutor(limits.streams, "gateway-decoder")
        self._kept: dict[str, _Kept] = {}
        self._ends: set[asyncio.Task[None]] = set()
        self._is_stopping = False
        self.resumed = self.expired = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request."""
        if scope["path"] != STREAM:
            return await self._app(scope, receive, send)
        if scope["type"] != "websocket":
            return await refuse(scope, send, RefusedError(426, "this is a WebSocket's address"))
        if (await receive())["type"] != "websocket.connect":
            return
        protocol = _PROTOCOL if _PROTOCOL in scope["subprotocols"] else None
        await send({"type": "websocket.accept", "subprotocol": protocol})
        # A page learns no status of a refused handshake: it is told in a message.
        try:
            kept, received = await self._begun(scope)
            await self._attached(kept, received, receive, send)
        except RefusedError as refused:
            scope["state"]["refused"] = refused.status
            await _tell(send, {"type": "error", "error": refused.reason, "status": refused.status})
            code, reason = _REFUSED + refused.status, refused.reason[:100]
            await send({"type": "websocket.close", "code": code, "reason": reason})

    async def _begun(self, scope: Scope) -> tuple[_Kept, int]:
        """The stream that is asked for, and how many of its messages the client has."""
        given, _ = arguments(scope["query_string"], _NAMES)
        if "session" in given:
            return self._resumed(given)
        sound, numbers = sound_of(given), numbers_in(given, _RANGES)
        if self._is_stopping:
            raise RefusedError(503, "the gateway is stopping; try again later")
        client = scope["state"]["client"]
        self._check_share(client)
        await self._admission.take(client)
        try:
            live = await self._opened()
            session = LiveSession(live, self._model_name, sound, numbers, self._decoders)
        except BaseException as error:
            self._admission.release(client)
            if isinstance(error, MuqrtError):
                raise refusal_of(error, []) from error
            raise
        self._kept[session.id] = kept = _Kept(session, client)
        return kept, 0

    def _check_share(self, client: str) -> None:
        """Leave half of the slots to other clients."""
        held = Counter(kept.client for kept in self._kept.values())[client]
        if held >= max(1, self._limits.streams // 2):
            raise RefusedError(429, f"{held} streams of yours are open; end one first")

    def _resumed(self, given: Mapping[str, str]) -> tuple[_Kept, int]:
        kept = self._kept.get(given["session"])
        if kept is None:
            raise RefusedError(404, "no such session: it has ended, or was left for too long")
        received = int(numbers_in(given, {"received": (0, 2**53)}).get("received", 0))
        if not kept.session.has(received):
            raise RefusedError(400, f"received: {kept.session.told} messages were sent")
        kept.left.set()  # from a socket that may be half-open
        kept.left = asyncio.Event()
        if kept.expiry is not None:
            kept.expiry.cancel()
            kept.expiry = None
        self.resumed += 1
        return kept, received

    async def _opened(self) -> Live:
        async with self._opening:
            if self._live is None:
                self._live = await self._open_live()
            return self._live

    async def _attached(self, kept: _Kept, received: int, receive: Receive, send: Send) -> None:
        """Serve a stream on a socket until one of them ends."""
        session, left = kept.session, kept.left
        if kept.reading is not None:
            # The socket before must not take the stream further than this one is told.
            kept.reading.cancel()
            await asyncio.wait({kept.reading})
        if left.is_set():
            return await send({"type": "websocket.close", "code": _GOING_AWAY})
        reading = kept.reading = asyncio.ensure_future(self._read(session, receive))
        unit = "bytes" if session.sound.format == "encoded" else "samples"
        facts = {
            "type": "session",
            "session": session.id,
            unit: session.position,
            "received": received,
        }
        writing = asyncio.ensure_future(_write(session, facts, received, send))
        leaving = asyncio.ensure_future(left.wait())
        running: set[asyncio.Task[Any]] = {reading, writing, leaving}
        done: set[asyncio.Task[Any]] = set()
        failed: list[asyncio.Task[Any]] = []
        try:
            done, _ = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in running:
                task.cancel()
            await asyncio.wait(running)
            done = {each for each in done - {leaving} if not each.cancelled()}
            failed = [each for each in done if isinstance(each.exception(), RefusedError)]
            is_told = writing in done and writing.exception() is None
            if left.is_set():
                pass  # to another socket, or dropped
            elif failed or is_told:
                self._end(kept)
            else:
                self._detach(kept)
        for each in failed:
            each.result()
        if left.is_set() or reading not in done:
            with suppress(OSError):  # the client has gone
                code = _NORMAL if is_told else _GOING_AWAY
                await send({"type": "websocket.close", "code": code})

    async def _read(self, session: LiveSession, receive: Receive) -> None:
        """Take what the client sends, until it goes away."""
        idle_seconds = self._limits.idle_seconds
        while True:
            try:
                message = await asyncio.wait_for(receive(), idle_seconds)
            except asyncio.TimeoutError:
                if session.is_over:
                    return
                raise RefusedError(408, f"nothing came for {idle_seconds:g} s") from None
            if message["type"] != "websocket.receive":
                return
            if (data := message.get("bytes")) is not None:
                try:
                    await session.push(data)
                except MuqrtError as error:
                    raise refusal_of(error, []) from error
            elif message.get("text") == "end":
                await session.finish()
            else:
                raise RefusedError(400, "the only text message is: end")

    def _detach(self, kept: _Kept) -> None:
        """Keep a stream for a client that may come back."""
        loop = asyncio.get_running_loop()
        kept.expiry = loop.call_later(self._limits.resume_seconds, self._expire, kept)

    def _expire(self, kept: _Kept) -> None:
        self.expired += 1
        self._end(kept)

    def _end(self, kept: _Kept) -> None:
        """Drop a stream, and give its slot back."""
        if self._kept.pop(kept.session.id, None) is None:
            return
        if kept.expiry is not None:
            kept.expiry.cancel()

        async def end() -> None:
            try:
                await kept.session.drop()
            finally:
                self._admission.release(kept.client)

        ending = asyncio.ensure_future(end())
        self._ends.add(ending)
        ending.add_done_callback(self._ends.discard)

    async def drain(self, seconds: float) -> None:
        """Let streams end for so long; then end them as if their sound had, and tell the rest."""
        self._is_stopping = True
        deadline = time.monotonic() + seconds
        while self._kept and time.monotonic() < deadline - min(_LAST_SECONDS, seconds / 2):
            await asyncio.sleep(0.05)
        for kept in list(self._kept.values()):
            if kept.expiry is not None:
                self._end(kept)
            else:
                finishing = asyncio.ensure_future(kept.session.finish())
                self._ends.add(finishing)
                finishing.add_done_callback(self._ends.discard)
        while self._kept and time.monotonic() < deadline:
            await asyncio.sleep(0.05)
        for kept in list(self._kept.values()):
            kept.left.set()
            self._end(kept)
        if self._ends:
            await asyncio.wait(self._ends, timeout=_LAST_SECONDS)
        if self._live is not None:
            await self._live.close()
        self._decoders.shutdown(wait=False)

    def metrics_text(self) -> str:
        """How many streams there are and were, for Prometheus."""
        figures = (
            ("streams", "gauge", "Live streams that hold a slot", self._admission.running),
            ("streams_total", "counter", "Live streams that were begun", self._admission.admitted),
            ("streams_resumed_total", "counter", "Streams that were resumed", self.resumed),
            ("streams_expired_total", "counter", "Streams nobody came back to", self.expired),
        )
        return "".join(
            f"# HELP muqrt_gateway_{name} {help}\n# TYPE muqrt_gateway_{name} {kind}\n"
            f"muqrt_gateway_{name} {value}\n"
            for name, kind, help, value in figures
        )


async def _write(session: LiveSession, facts: Mapping[str, Any], received: int, send: Send) -> None:
    """Tell the client which stream it is on, and then what is new, to the last."""
    await _tell(send, facts)
    async for document in session.messages(received):
        await _tell(send, document)


async def _tell(send: Send, document: Mapping[str, Any]) -> None:
    await send({"type": "websocket.send", "text": json.dumps(document, ensure_ascii=False)})
