"""Put an engine or a server under load, and measure it."""

import asyncio
import os
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from ...common.console import Bar
from ...errors import ServerError
from ...runtime.load import open_bundle
from ...runtime.streaming.engine import Streaming
from ...triton_repo.client.endpoint import Endpoint
from ..measure.neighbours import watch_neighbours
from .engine import run_in_process
from .figures import Figures, churn_figures, machine_figures, stream_figures, stretches
from .live import churn, run_on_server
from .outcome import Outcome
from .plan import Load, Music, schedule
from .report import LoadReport
from .served import connected
from .watch import Watch

_POLL_SECONDS = 1.0


@dataclass(frozen=True)
class Target:
    """A server under load.

    Attributes:
        url: its gRPC endpoint.
        model: name of the live model.
        timeout_seconds: how long one answer may take.
        pid: its process, if it is on this machine and to be watched.
        metrics_url: address of its metrics, if they are to be watched.
    """

    url: Endpoint
    model: str
    timeout_seconds: float
    pid: int | None = None
    metrics_url: str | None = None

    def __str__(self) -> str:
        return f"{self.model} at {self.url}"


def load_engine(
    bundle: Path,
    artefact: str | None,
    threads: int | None,
    load: Load,
    audio: Sequence[Path],
    bar: Bar,
) -> LoadReport:
    """Put a bundle's engine under load, in this process."""
    with open_bundle(bundle, artefact, threads) as session:
        streaming = Streaming(session)
        rate_hz = session.framing.sample_rate_hz
        music, lives = Music(audio, rate_hz), schedule(load, rate_hz)
        _warm_up(streaming, music)
        with _Test(os.getpid(), None) as test:
            run_in_process(streaming, lives, music, test.outcome, bar)
            machine = test.machine(served=False)
        figures = stream_figures(test.outcome, streaming.sliding.hop_seconds) | machine
    target = f"the engine in this process, {artefact or 'first artefact'} of {bundle.name}"
    return test.report(target, asdict(load), figures)


async def load_server(target: Target, load: Load, audio: Sequence[Path], bar: Bar) -> LoadReport:
    """Put a server under load."""
    async with connected(target.url, target.model, target.timeout_seconds) as served:
        rate_hz = served.sliding.framing.sample_rate_hz
        music, lives = Music(audio, rate_hz), schedule(load, rate_hz)
        with _Test(target.pid, target.metrics_url) as test:
            await run_on_server(served, lives, music, test.outcome, bar)
            machine = test.machine(served=True)
    figures = stream_figures(test.outcome, served.sliding.hop_seconds) | machine
    return test.report(str(target), asdict(load), figures)


async def churn_server(
    target: Target,
    streams: int,
    at_once: int,
    idle_seconds: float,
    audio: Sequence[Path],
    bar: Bar,
    seed: int,
) -> LoadReport:
    """Open thousands of short streams on a server, and count those that never end."""
    async with connected(target.url, target.model, target.timeout_seconds) as served:
        music = Music(audio, served.sliding.framing.sample_rate_hz)
        with _Test(target.pid, target.metrics_url) as test:
            await churn(served, streams, at_once, music, test.outcome, bar, seed)
            seconds = test.seconds
            lost = await _live_in_the_end(test, idle_seconds)
            machine = test.machine(served=True)
    asked = {"churn": streams, "at_once": at_once, "idle_seconds": idle_seconds, "seed": seed}
    return test.report(str(target), asked, churn_figures(test.outcome, seconds, lost) | machine)


class _Test(Watch):
    """A test under way: what it counts, and what this process and others use meanwhile."""

    def __init__(self, pid: int | None, metrics_url: str | None) -> None:
        super().__init__(pid, metrics_url)
        self.outcome = Outcome()
        self._neighbours = watch_neighbours()
        self._began, self._own = time.perf_counter(), time.process_time()

    @property
    def seconds(self) -> float:
        """How long it has taken so far."""
        return time.perf_counter() - self._began

    def machine(self, served: bool) -> Figures:
        """The machine's figures so far; those of a server are told from this process's."""
        self.samples.append(self.look())
        own_cores = (time.process_time() - self._own) / self.seconds
        counted: dict[str, float] = {}
        with suppress(ServerError):  # the server has gone: the readiness figures show it
            counted = self.counted()
        found = machine_figures(self.outcome, self.samples, counted)
        others = self._neighbours()
        if not served:
            return found | {"others_share": others}
        found["generator_cores"] = own_cores
        # The server is one of the neighbours.
        if (server_cores := found.get("cpu_cores")) is not None:
            found["others_share"] = max(0.0, others - server_cores / (os.cpu_count() or 1))
        return found

    def report(self, target: str, asked: dict[str, float | int], figures: Figures) -> LoadReport:
        """The test's report, of what it was asked to do and the figures found."""
        outcome = self.outcome
        return LoadReport(
            target=target,
            load=asked,
            figures=figures,
            errors=dict(outcome.errors),
            over_time=stretches(outcome.answers),
            latencies_ms=[each.latency_seconds * 1000 for each in outcome.answers],
            samples=self.samples,
        )


def _warm_up(streaming: Streaming, music: Music) -> None:
    """Run the engine once, so that no stream waits for its first run."""
    rate_hz = streaming.sliding.framing.sample_rate_hz
    stream = streaming.open()
    for second in range(int(streaming.sliding.window_seconds) + 1):
        streaming.push(stream, music.excerpt(0.0, second * rate_hz, (second + 1) * rate_hz))


async def _live_in_the_end(watch: Watch, idle_seconds: float) -> float | None:
    """How many streams are live once all should be gone; None without the server's metrics."""
    live = watch.look().live_streams
    patience = time.perf_counter() + idle_seconds
    while live and time.perf_counter() < patience:
        await asyncio.sleep(_POLL_SECONDS)
        live = watch.look().live_streams
    return live
