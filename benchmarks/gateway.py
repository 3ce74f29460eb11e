"""What the gateway costs: encoded files through it, and by a client that asks the server itself.

The server has one core; the gateway and the direct client, each a process of its own, take turns on
another. What sends the gateway its files is on the server's core: it would be another machine's.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil

from ..errors import ServerError, UsageError
from ..triton_repo.client.session import TritonSession
from ..triton_repo.server.process import Server
from .measure.neighbours import processor_seconds, watch_neighbours
from .measure.report import Report, Section
from .measure.timing import spread

WAYS = ("direct", "gateway")
_START_SECONDS, _ANSWER_SECONDS = 120.0, 600.0
_TOLERANCE = 1e-5
_COLUMNS = ("way", "files/s", "worst", "best", "less", "processor, ms a file")


@dataclass(frozen=True, kw_only=True)
class GatewayTiming:
    """All files, one way.

    Attributes:
        way: direct or gateway.
        samples_seconds: for all files, one a round.
        processor_seconds: of the process between the files and the server, one a round.
    """

    way: str
    samples_seconds: list[float]
    processor_seconds: list[float]


@dataclass(frozen=True, kw_only=True)
class GatewayReport(Report):
    """One run of ``muqrt bench gateway``.

    Attributes:
        files: their names.
        at_once: how many were under way at a time.
        largest_difference: between the two ways' scores of a tag.
        neighbours: how busy other programs kept the machine, these processes among them, 0 to 1.
        timings: both ways.
    """

    files: list[str]
    at_once: int
    largest_difference: float
    neighbours: float
    timings: list[GatewayTiming]

    def results(self) -> list[Section]:
        """One table."""
        count, rows = len(self.files), []
        usual = spread(self.timings[0].samples_seconds).median
        for each in self.timings:
            found = spread(each.samples_seconds)
            processor = spread(each.processor_seconds).median / count
            seconds = found.median, max(each.samples_seconds), min(each.samples_seconds)
            less = "" if each.way == "direct" else f"{1 - usual / found.median:.1%}"
            rates = (f"{count / one:.3g}" for one in seconds)
            rows.append([each.way, *rates, less, f"{processor * 1e3:.0f}"])
        return [Section("Files through the gateway", _COLUMNS, rows, __doc__.split("\n\n")[1])]

    def remarks(self) -> list[str]:
        """What was sent."""
        return [
            f"{len(self.files)} files a round, {self.at_once} at a time; the two ways' scores "
            f"differ by {self.largest_difference:.1e} at most. All programs, these among them, "
            f"took {self.neighbours:.0%} of the machine."
        ]


def measure(
    models: Path,
    files: Sequence[Path],
    rounds: int,
    at_once: int,
    on_step: Callable[[], None] = lambda: None,
) -> GatewayReport:
    """Tag the files both ways, by turns.

    Args:
        models: a model repository with ``muq``, which has tags.
        files: encoded audio.
        rounds: how often each way.
        at_once: how many files are under way at a time.
        on_step: called after each round.

    Raises:
        UsageError: only one core. ServerError: a process does not start, or the ways disagree.
    """
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        raise UsageError("two cores are needed, one of them for the server.")
    neighbours = watch_neighbours()
    with (
        on_core(cores[0]),
        Server(models, start_timeout_seconds=_START_SECONDS) as server,
        _gateway(server.grpc_url, at_once, cores[-1]) as gateway,
        _direct(server.grpc_url, files, at_once, cores[-1]) as direct,
    ):
        ways = {"direct": direct, "gateway": gateway}
        answers = {way: _ask(ways[way], files, at_once)[0] for way in WAYS}
        difference = _largest_difference(answers["direct"], answers["gateway"])
        if difference > _TOLERANCE:
            raise ServerError(f"The two ways' scores differ by {difference:.1e}.")
        taken: dict[str, list[tuple[float, float]]] = {way: [] for way in WAYS}
        for number in range(rounds):
            for way in WAYS if number % 2 else WAYS[::-1]:
                taken[way].append(_ask(ways[way], files, at_once)[1:])
            on_step()
    return GatewayReport(
        files=[each.name for each in files],
        at_once=at_once,
        largest_difference=difference,
        neighbours=neighbours(),
        timings=[
            GatewayTiming(
                way=way,
                samples_seconds=[seconds for seconds, _ in taken[way]],
                processor_seconds=[processor for _, processor in taken[way]],
            )
            for way in WAYS
        ],
    )


Scores = dict[str, float]
# Gives each file's scores; and the process that does.
Way = tuple[Callable[[Sequence[Path], int], list[Scores]], psutil.Process]


def _ask(way: Way, files: Sequence[Path], at_once: int) -> tuple[list[Scores], float, float]:
    """The answers, the seconds that they took, and those of the processor."""
    tag, process = way
    processor, start = processor_seconds(process), time.perf_counter()
    found = tag(files, at_once)
    return found, time.perf_counter() - start, processor_seconds(process) - processor


def _largest_difference(left: Sequence[Scores], right: Sequence[Scores]) -> float:
    return max(
        abs(score - there[tag])
        for here, there in zip(left, right, strict=True)
        for tag, score in here.items()
    )


@contextmanager
def on_core(core: int) -> Iterator[None]:
    """Let this thread, and the processes that it starts, have one core."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@contextmanager
def _process(words: Sequence[str], core: int) -> Iterator[tuple["subprocess.Popen[str]", str]]:
    """A process of ours on a core, and the first line that it says."""
    command, pipe = [sys.executable, "-m", *words], subprocess.PIPE
    with on_core(core):
        process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True)
    with process:
        try:
            assert process.stdout is not None
            if not (line := process.stdout.readline()):
                raise ServerError(f"{' '.join(words)} did not start.")
            yield process, line
        finally:
            process.terminate()


@contextmanager
def _gateway(server: str, at_once: int, core: int) -> Iterator[Way]:
    words = ["muqrt", "gateway", "--server", server, "--port", "0", "--json"]
    with _process([*words, "--max-running", str(at_once)], core) as (process, line):
        address = urlsplit(json.loads(line)["url"]).netloc

        def tag_one(file: Path) -> Scores:
            connection = HTTPConnection(address, timeout=_ANSWER_SECONDS)
            connection.request("POST", "/v1/tags", file.read_bytes())
            answer = connection.getresponse()
            document: dict[str, Any] = json.loads(answer.read())
            connection.close()
            if answer.status != 200:
                raise ServerError(f"The gateway answered {answer.status}: {document}.")
            scores: Scores = document["results"][0]["scores"]
            return scores

        def tag(files: Sequence[Path], at_once: int) -> list[Scores]:
            with ThreadPoolExecutor(at_once) as pool:
                return list(pool.map(tag_one, files))

        yield tag, psutil.Process(process.pid)


@contextmanager
def _direct(server: str, files: Sequence[Path], at_once: int, core: int) -> Iterator[Way]:
    words = [__spec__.name, server, str(at_once), *map(str, files)]
    with _process(words, core) as (process, _):
        assert process.stdin is not None and process.stdout is not None

        def tag(files: Sequence[Path], at_once: int) -> list[Scores]:
            assert process.stdin is not None and process.stdout is not None
            process.stdin.write("\n")
            process.stdin.flush()
            found: list[Scores] = json.loads(process.stdout.readline())
            return found

        yield tag, psutil.Process(process.pid)


def _answer(server: str, at_once: str, *files: str) -> None:
    """Be the direct client: tag all files for each line that comes."""
    from ..runtime.model import Model

    with TritonSession(server) as session, ThreadPoolExecutor(int(at_once)) as pool:

        def tag(file: str) -> Mapping[str, float]:
            return dict(Model(session).tag(file).ranking())

        print("ready", flush=True)
        for _ in sys.stdin:
            print(json.dumps(list(pool.map(tag, files))), flush=True)


if __name__ == "__main__":
    _answer(*sys.argv[1:])
