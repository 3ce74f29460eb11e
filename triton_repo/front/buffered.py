"""How many bytes of requests are on their way at once."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from .asgi import RefusedError
from .limits import FrontLimits


class Buffered:
    """The bytes of all requests that have not been answered, HTTP's and gRPC's, within limits."""

    def __init__(self, limits: FrontLimits) -> None:
        self._limits = limits
        self._held: Counter[str] = Counter()

    @contextmanager
    def holding(self, client: str, size: int) -> Iterator[None]:
        """Count a request of this size while the block runs.

        Raises:
            RefusedError: there is too much already, of this client or of all.
        """
        if (
            self._held.total() + size > self._limits.buffered_bytes
            or self._held[client] + size > self._limits.client_buffered_bytes
        ):
            raise RefusedError(429, "too much audio on its way at once; try again later")
        self._held[client] += size
        try:
            yield
        finally:
            self._held[client] -= size
            if not self._held[client]:
                del self._held[client]
