"""What a server (or this process) takes while it is under load, twice a second."""

import re
import threading
import time
from collections import defaultdict
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING
from urllib.request import ProxyHandler, build_opener

import psutil

from ...errors import ServerError, UsageError

if TYPE_CHECKING:
    from typing_extensions import Self

LIVE_STREAMS = "muqrt_live_streams"
_EVERY_SECONDS = 0.5
_TIMEOUT_SECONDS = 5.0
# name{label="x"} value
_METRIC = re.compile(r"^(\w+)(?:\{.*\})? (\S+)", re.MULTILINE)


@dataclass(frozen=True)
class Sample:
    """One look.

    Attributes:
        seconds: since the watch began.
        rss_bytes: resident memory of the process and all its children.
        cpu_seconds: that they have used up.
        live_streams: what the server's metric says.
    """

    seconds: float
    rss_bytes: int | None
    cpu_seconds: float | None
    live_streams: float | None


class Watch:
    """Looks again and again, in a thread of its own. A context manager.

    Args:
        pid: of the process to watch, with its children; None for none.
        metrics_url: of the server's metrics; None for none.

    Attributes:
        samples: what was seen, in order.

    Raises:
        UsageError: no such process. ServerError: no metrics at that address.
    """

    def __init__(self, pid: int | None, metrics_url: str | None) -> None:
        try:
            self._process = None if pid is None else psutil.Process(pid)
        except psutil.Error:
            raise UsageError(f"--pid {pid}: there is no such process here.") from None
        self._metrics_url = metrics_url
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._look_again, daemon=True)
        self._began = time.perf_counter()
        self.metrics_before = {} if metrics_url is None else read_metrics(metrics_url)
        self.samples = [self.look()]

    def look(self) -> Sample:
        """How things are now."""
        rss_bytes = cpu_seconds = live_streams = None
        if self._process is not None:
            rss_bytes, cpu_seconds = _usage(self._process)
        if self._metrics_url is not None:
            try:
                live_streams = read_metrics(self._metrics_url).get(LIVE_STREAMS)
            except ServerError:
                live_streams = None  # the server is busy, or has gone: readiness tells
        return Sample(time.perf_counter() - self._began, rss_bytes, cpu_seconds, live_streams)

    def counted(self) -> dict[str, float]:
        """How much each of muqrt's metrics has changed since the watch began.

        Raises:
            ServerError: the metrics cannot be read any more.
        """
        if self._metrics_url is None:
            return {}
        now = read_metrics(self._metrics_url)
        return {name: value - self.metrics_before.get(name, 0.0) for name, value in now.items()}

    def _look_again(self) -> None:
        while not self._stop.wait(_EVERY_SECONDS):
            self.samples.append(self.look())

    def __enter__(self) -> "Self":
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stop.set()
        self._thread.join()


def read_metrics(url: str) -> dict[str, float]:
    """Muqrt's own metrics at this address, in Prometheus' text format, labels summed.

    Raises:
        ServerError: nothing answers there.
    """
    try:
        # Metrics are never behind a proxy.
        with build_opener(ProxyHandler({})).open(url, timeout=_TIMEOUT_SECONDS) as answer:
            text = answer.read().decode("utf-8")
    except (OSError, ValueError) as error:
        raise ServerError(
            f"{url} gives no metrics ({error}). Name the server's own, as "
            "http://localhost:8002/metrics."
        ) from None
    found: dict[str, float] = defaultdict(float)
    for name, value in _METRIC.findall(text):
        if name.startswith("muqrt_"):
            found[name] += float(value)
    return dict(found)


def _usage(process: psutil.Process) -> tuple[int | None, float | None]:
    try:
        family = [process, *process.children(recursive=True)]
    except psutil.Error:
        return None, None
    rss_bytes, cpu_seconds = 0, 0.0
    for each in family:
        try:
            rss_bytes += each.memory_info().rss
            times = each.cpu_times()
        except psutil.Error:
            continue  # it has ended since
        cpu_seconds += times.user + times.system
    return rss_bytes, cpu_seconds
