"""Wait for what another thread or process does."""

import time
from collections.abc import Callable

_LONG_SECONDS = 60.0
_POLL_SECONDS = 0.005


def until(condition: Callable[[], bool]) -> None:
    """Wait until it holds; fail if it does not within a minute."""
    deadline = time.monotonic() + _LONG_SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(_POLL_SECONDS)
