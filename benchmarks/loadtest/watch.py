"""Memory, processor and live streams of a server (or this process) under load, twice a second."""

import re
import threading
import time
from collections import defaultdict
from dataclasses import dataclass
from urllib.request import ProxyHandler, build_opener

import psutil

from ...common.closing import Closing
from ...errors import ServerError, UsageError

LIVE_STREAMS = "muqrt_live_streams"
_EVERY_SECONDS = 0.5
_TIMEOUT_SECONDS = 5.0
# name{label="x"} value
_METRIC = re.compile(r"^(\w+)(?:\{.*\})? (\S+)", re.MULTILINE)


@dataclass(frozen=True)
class Sample:
    """The state at one moment; None for what is not watched.

    Attributes:
        seconds: since the watch began.
        rss_bytes: resident memory of the process and all its children.
        cpu_seconds: processor time they have used.
        live_streams: the server's metric.
    """

    seconds: float
    rss_bytes: int | None
    cpu_seconds: float | None
    live_streams: float | None


class Watch(Closing):
    """Takes samples in a thread of its own until it is closed.

    Args:
        pid: the process to watch, with its children; None for none.
        metrics_url: address of the server's metrics; None for none.

    Attributes:
        samples: in order.

    Raises:
        UsageError: no such process. ServerError: no metrics at that address.
    """

    def __init__(self, pid: int | None, metrics_url: str | None) -> None:
        try:
            self._process = None if pid is None else psutil.Process(pid)
        except psutil.Error:
            raise UsageError(f"--pid {pid}: there is no such process on this machine.") from None
        self._metrics_url = metrics_url
        self._stop = threading.Event()
        self._began = time.perf_counter()
        self.metrics_before = {} if metrics_url is None else read_metrics(metrics_url)
        self.samples = [self.look()]
        self._thread = threading.Thread(target=self._look_again, daemon=True)
        self._thread.start()

    def look(self) -> Sample:
        """Take a sample."""
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
        """How much each of muqrt's metrics has changed since the watch began."""
        if self._metrics_url is None:
            return {}
        now = read_metrics(self._metrics_url)
        return {name: value - self.metrics_before.get(name, 0.0) for name, value in now.items()}

    def _look_again(self) -> None:
        while not self._stop.wait(_EVERY_SECONDS):
            self.samples.append(self.look())

    def close(self) -> None:
        """Stop watching."""
        self._stop.set()
        self._thread.join()


def read_metrics(url: str) -> dict[str, float]:
    """Read muqrt's metrics from an address, in Prometheus' text format, and sum over labels.

    Raises:
        ServerError: the address cannot be read, or gives no text.
    """
    try:
        # Metrics are never behind a proxy.
        with build_opener(ProxyHandler({})).open(url, timeout=_TIMEOUT_SECONDS) as answer:
            text = answer.read().decode("utf-8")
    except (OSError, ValueError) as error:
        raise ServerError(
            f"{url} gives no metrics ({error}). Give the server's address, such as "
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
