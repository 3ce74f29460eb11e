"""How many requests run, how many wait for that, and whose turn is next."""

import asyncio
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass

from .asgi import App, Message, Receive, RefusedError, Scope, Send, refuse

FULL = "too many requests at once; try again later"


@dataclass(frozen=True)
class AdmissionConfig:
    """How much is admitted.

    Attributes:
        running: requests that are with the server at once.
        waiting: requests that wait for that; one more is refused.
    """

    running: int = 64
    waiting: int = 64


class FullError(RefusedError):
    """No room for a request."""

    def __init__(self) -> None:
        super().__init__(429, FULL)


class Admission:
    """Slots for requests, for one event loop.

    Fair between clients: the next slot goes to a client with the fewest requests running, by turns;
    and when all places to wait are taken, the client with the most of them gives one up to another
    that has at least two fewer.

    Attributes:
        admitted: how many requests have got a slot.
        running: how many requests hold one.
    """

    def __init__(self, config: AdmissionConfig) -> None:
        self.config = config
        self.admitted = self.running = 0
        self._running: Counter[str] = Counter()
        # Its order is that of the turns.
        self._waiting: dict[str, deque[asyncio.Future[None]]] = {}

    @property
    def waiting(self) -> int:
        """How many requests wait for one."""
        return sum(map(len, self._waiting.values()))

    @property
    def has_room(self) -> bool:
        """Whether a slot can be had without waiting."""
        return self.running < self.config.running and not self._waiting

    def check(self, client: str) -> None:
        """Raise FullError if a request of this client would be refused now."""
        if self.running >= self.config.running and self.waiting >= self.config.waiting:
            self._busier_than(client)

    async def take(self, client: str) -> None:
        """Take a slot, after waiting for it if need be; ``release`` gives it back.

        Raises:
            FullError: no place to wait, or it was given to another client.
        """
        if self.has_room:
            return self._admit(client)
        if self.waiting >= self.config.waiting:
            busiest = self._busier_than(client)
            self._remove(busiest, self._waiting[busiest][-1], FullError())
        place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(client, deque()).append(place)
        try:
            await place
        except asyncio.CancelledError:
            if place.done() and not place.cancelled() and place.exception() is None:
                self.release(client)  # the slot came just as the client left
            elif place in self._waiting.get(client, ()):
                self._remove(client, place)
            raise

    def _admit(self, client: str) -> None:
        self._running[client] += 1
        self.running += 1
        self.admitted += 1

    def _busier_than(self, client: str) -> str:
        """The client that gives up a place for this one."""
        busiest = max(self._waiting, key=lambda each: len(self._waiting[each]), default=None)
        own = len(self._waiting.get(client, ()))
        if busiest is None or len(self._waiting[busiest]) < own + 2:
            raise FullError
        return busiest

    def _remove(
        self, client: str, place: "asyncio.Future[None]", error: FullError | None = None
    ) -> None:
        self._waiting[client].remove(place)
        if not self._waiting[client]:
            del self._waiting[client]
        if error is not None and not place.done():
            place.set_exception(error)

    def release(self, client: str) -> None:
        """Give a slot back."""
        self._running[client] -= 1
        self.running -= 1
        if not self._running[client]:
            del self._running[client]
        while self._waiting and self.running < self.config.running:
            following = min(self._waiting, key=self._running.__getitem__)
            places = self._waiting.pop(following)
            place = places.popleft()
            if places:
                self._waiting[following] = places  # behind the others
            if not place.done():
                self._admit(following)
                place.set_result(None)


class Admitted:
    """Gives requests their slots, but for those that need none.

    A slot is taken when the last of the body is here, so that a slow client holds none, but a
    request that would be refused is refused before its body is read.

    Args:
        app: the next.
        admission: has the slots.
        needs_slot: whether a path's requests need one.
    """

    def __init__(self, app: App, admission: Admission, needs_slot: Callable[[str], bool]) -> None:
        self._app, self._admission, self._needs_slot = app, admission, needs_slot

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request."""
        if not self._needs_slot(scope["path"]):
            return await self._app(scope, receive, send)
        client = scope["state"]["client"]
        admitted = False

        async def receive_with_slot() -> Message:
            nonlocal admitted
            message = await receive()
            if message["type"] == "http.request" and not message.get("more_body") and not admitted:
                admitted = await self._take(client, receive)
                if not admitted:
                    return {"type": "http.disconnect"}
            return message

        try:
            self._admission.check(client)
            await self._app(scope, receive_with_slot, send)
        except FullError as full:
            await refuse(scope, send, full)
        finally:
            if admitted:
                self._admission.release(client)

    async def _take(self, client: str, receive: Receive) -> bool:
        """Take a slot; False if the client goes away before there is one."""
        if self._admission.has_room:
            await self._admission.take(client)
            return True
        taking = asyncio.ensure_future(self._admission.take(client))
        gone = asyncio.ensure_future(receive())
        try:
            await asyncio.wait({taking, gone}, return_when=asyncio.FIRST_COMPLETED)
            if taking.done():
                taking.result()
                return True
            return False
        finally:
            gone.cancel()
            taking.cancel()
