"""Watches one model: dead, or only busy?"""

import json
import time
from collections.abc import Callable
from enum import Enum, auto
from http.client import HTTPException

from .probe import Answer, Probe
from .process import Server
from .stubs import processor_ticks, stubs_of

# How long answers may take, and how often a model that nobody uses is asked.
_STATISTICS_SECONDS, _PROBE_SECONDS = 1.0, 2.0
_IDLE_SECONDS = 0.5
# How long to wait before a model that did not answer is asked again; its queue has the first
# request still.
_PATIENCE_SECONDS = 10.0
# A process that answers nobody and computes nothing for so long hangs. Triton itself gives up a
# Python process that stands still after a second, and refuses requests from then on.
_HANG_SECONDS = 60.0


class Condition(Enum):
    """How a model is."""

    WORKS = auto()
    BUSY = auto()  # no answer now, but it computes
    FAILS = auto()  # an error, which may pass
    DEAD = auto()  # will not answer again
    UNKNOWN = auto()  # the server itself is away


class ModelWatch:
    """Looks at one model of a running server; make another after a restart.

    Args:
        server: the server, which runs.
        name: the model's name.
        clock: gives the time in seconds.

    Attributes:
        failures: how many looks in a row have found that it fails.
    """

    def __init__(
        self, server: Server, name: str, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._server, self._name, self._clock = server, name, clock
        self._probe = Probe.of(json.loads(server.http.get(f"/v2/models/{name}/config")))
        self._stubs = stubs_of(server.pid, name)
        self.failures = 0
        self._successes = -1
        self._ticks = 0
        self._progress_seconds = self._asked_seconds = clock()
        self._works_until = 0.0
        self._is_silent = False

    def look(self) -> Condition:
        """How the model is now. Takes two seconds at most if it does not answer."""
        if any(not stub.is_alive for stub in self._stubs):
            return Condition.DEAD
        try:
            if self._has_answered():
                return self._works()
        except (HTTPException, OSError):
            return Condition.UNKNOWN
        now = self._clock()
        if now < self._works_until:
            return Condition.WORKS
        if self._is_silent and now < self._asked_seconds + _PATIENCE_SECONDS:
            return self._busy(now)
        self._asked_seconds = now
        answer = self._probe.send(self._server.http_url, _PROBE_SECONDS)
        self._is_silent = answer is Answer.SILENT
        if answer is Answer.WORKS:
            return self._works()
        if answer is Answer.FAILS:
            self.failures += 1
            return Condition.FAILS
        return Condition.UNKNOWN if answer is Answer.GONE else self._busy(self._clock())

    def _works(self) -> Condition:
        self.failures, self._is_silent = 0, False
        self._progress_seconds = self._clock()
        self._works_until = self._progress_seconds + _IDLE_SECONDS
        return Condition.WORKS

    def _busy(self, now: float) -> Condition:
        """Busy, unless neither an answer nor a computation has been seen for long."""
        processes = [stub.pid for stub in self._stubs] or [self._server.pid]
        ticks = sum(map(processor_ticks, processes))
        if ticks > self._ticks:
            self._ticks, self._progress_seconds = ticks, now
        return Condition.DEAD if now > self._progress_seconds + _HANG_SECONDS else Condition.BUSY

    def _has_answered(self) -> bool:
        """Whether clients have had answers since the last look."""
        answer = json.loads(
            self._server.http.get(f"/v2/models/{self._name}/stats", _STATISTICS_SECONDS)
        )
        versions = answer["model_stats"]
        successes = sum(each["inference_stats"]["success"]["count"] for each in versions)
        before, self._successes = self._successes, successes
        return 0 <= before < successes
