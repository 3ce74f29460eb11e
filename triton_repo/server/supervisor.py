"""Keeps a server's models answering: watches each, and restarts what died.

A model is loaded again on its own, so that the others go on. If that fails, or the server itself
has died, the whole server starts again on the same ports.
"""

import time
from collections import Counter, deque
from collections.abc import Callable
from contextlib import suppress
from http.client import HTTPException
from threading import Event, Thread

from ...common.closing import Closing
from ...common.retry import Backoff
from ...errors import ServerError
from .model_watch import Condition, ModelWatch
from .process import Server

_LOOK_SECONDS = 0.25
_FIRST_LOOK_SECONDS = 10.0
# One failure may be a request that a busy machine was too slow for.
_MOST_FAILURES = 1
# What dies more often than this is not brought back at once.
_DEATHS_AT_ONCE, _DEATHS_SECONDS = 4, 60.0
_BACKOFF = Backoff(first_seconds=1.0, longest_seconds=30.0)
# A server that runs and answers nothing for so long is restarted.
_UNREACHABLE_SECONDS = 15.0
# Starts in a row that fail before the supervisor gives up.
_MOST_FAILED_STARTS = 5
# A model whose process was killed never unloads: a thread and its shared memory stay with the
# server. After so many the server is restarted instead.
_MOST_RELOADS = 16


class Deaths:
    """Says how long to wait before something that has died is brought back."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._recent: deque[float] = deque()

    def pause_seconds(self) -> float:
        """Count a death; returns the pause, which is 0 for the first few in a minute."""
        now = self._clock()
        self._recent.append(now)
        while self._recent[0] < now - _DEATHS_SECONDS:
            self._recent.popleft()
        more = len(self._recent) - _DEATHS_AT_ONCE
        return _BACKOFF.pause_seconds(more - 1) if more > 0 else 0.0


class Supervisor(Closing):
    """Watches a server that runs; a context manager.

    Args:
        server: the server; its models are those it has now.

    Attributes:
        models: the models' names.
        server_restarts: how often the whole server was restarted.
        model_restarts: how often each model was loaded again.
    """

    def __init__(self, server: Server) -> None:
        self._server = server
        self.models = sorted(server.models())
        self.server_restarts = 0
        self.model_restarts: Counter[str] = Counter()
        self._ready: dict[str, bool] = dict.fromkeys(self.models, False)
        self._is_up, self._start = True, 0  # of the server, and the number of its start
        self._reloads = 0  # since the last one
        self._restarting: set[str] = set()
        self._stopped, self._server_fails, self._gave_up = Event(), Event(), Event()
        self._failure: ServerError | None = None
        self._threads = [Thread(target=self._watch_server, daemon=True)]
        self._threads += [
            Thread(target=self._watch_model, args=(name,), daemon=True) for name in self.models
        ]
        for thread in self._threads:
            thread.start()

    @property
    def is_ready(self) -> bool:
        """Whether every model answers, or is only busy."""
        return all(self._ready.values())

    def model_is_ready(self, name: str) -> bool:
        """Whether a model answers, or is only busy; False if there is no such model."""
        return self._ready.get(name, False)

    def metrics_text(self) -> str:
        """What it has done, in the text format of Prometheus."""
        lines = [
            "# HELP muqrt_server_restarts_total Restarts of the whole server",
            "# TYPE muqrt_server_restarts_total counter",
            f"muqrt_server_restarts_total {self.server_restarts}",
            "# HELP muqrt_model_restarts_total Models that died and were loaded again",
            "# TYPE muqrt_model_restarts_total counter",
        ]
        lines += [
            f'muqrt_model_restarts_total{{model="{name}"}} {self.model_restarts[name]}'
            for name in self.models
        ]
        lines += [
            "# HELP muqrt_model_ready Whether the model answers, or is only busy",
            "# TYPE muqrt_model_ready gauge",
        ]
        lines += [
            f'muqrt_model_ready{{model="{name}"}} {int(ready)}'
            for name, ready in self._ready.items()
        ]
        return "\n".join(lines) + "\n"

    def wait_until_ready(self, seconds: float = _FIRST_LOOK_SECONDS) -> bool:
        """Wait until every model has answered a tiny inference; returns whether they have."""
        end = time.monotonic() + seconds
        while not self.is_ready and time.monotonic() < end:
            self._stopped.wait(_LOOK_SECONDS / 10)
        return self.is_ready

    def wait(self, seconds: float | None = None) -> None:
        """Wait until the supervisor gives up, or for so long.

        Raises:
            ServerError: it gave up, because the server does not start any more.
        """
        self._gave_up.wait(seconds)
        if self._failure is not None:
            raise self._failure

    def close(self) -> None:
        """Stop watching. Calling it twice is harmless.

        A restart that is under way ends when the server is stopped.
        """
        self._stopped.set()
        for thread in self._threads:
            thread.join(_LOOK_SECONDS)

    def _watch_server(self) -> None:
        deaths = Deaths()
        while not self._stopped.wait(_LOOK_SECONDS):
            if self._server.is_running and not self._server_fails.is_set():
                continue
            self._is_up = False
            self._ready = dict.fromkeys(self.models, False)
            if not self._stopped.wait(deaths.pause_seconds()):
                self._restart_server()
            self._server_fails.clear()

    def _restart_server(self) -> None:
        for failures in range(_MOST_FAILED_STARTS):
            try:
                self._server.restart()
            except ServerError as error:
                failure = error
                if self._stopped.wait(_BACKOFF.pause_seconds(failures)):
                    return
            else:
                self.server_restarts += 1
                self._reloads = 0
                self._start += 1
                self._is_up = True
                return
        self._failure = failure
        self._stopped.set()
        self._gave_up.set()

    def _watch_model(self, name: str) -> None:
        deaths = Deaths()
        start, watch = -1, None
        unreachable_since: float | None = None
        while not self._stopped.wait(_LOOK_SECONDS):
            if not self._is_up:
                continue
            if start != self._start:
                start, watch = self._start, None
            condition = Condition.UNKNOWN
            with suppress(ServerError, HTTPException, OSError):
                watch = watch or ModelWatch(self._server, name)
                condition = watch.look()
            if start != self._start or not self._is_up or not self._server.is_running:
                continue
            self._ready[name] = condition in (Condition.WORKS, Condition.BUSY)
            if condition is not Condition.UNKNOWN:
                unreachable_since = None
            elif unreachable_since is None:
                unreachable_since = time.monotonic()
            elif time.monotonic() > unreachable_since + _UNREACHABLE_SECONDS:
                self._server_fails.set()
            is_dead = condition is Condition.DEAD
            # A model that calls another fails with it, and works again when that one does.
            if condition is Condition.FAILS and not self._restarting:
                is_dead = watch is not None and watch.failures > _MOST_FAILURES
            if is_dead:
                watch = None
                if not self._stopped.wait(deaths.pause_seconds()):
                    self._reload(name, start)

    def _reload(self, name: str, start: int) -> None:
        self._reloads += 1
        self._restarting.add(name)
        try:
            if self._reloads > _MOST_RELOADS:
                raise ServerError("too many models have died.")
            self._server.reload(name)
            self.model_restarts[name] += 1
        except ServerError:
            # Not if it died or was restarted meanwhile.
            if start == self._start and self._server.is_running:
                self._server_fails.set()
        finally:
            self._restarting.discard(name)
