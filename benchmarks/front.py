"""What the front before the server costs: one request through it, through a bare relay, directly.

Over HTTP and over gRPC. The server answers 100 bytes as soon as it has the whole request: a model's
time would hide the differences, and they do not depend on it. Each part is a process of its own, as
it is in use, and is started several times: two of the same program differ by up to half a
millisecond for a long request, by where in memory their buffers happen to lie.
"""

import asyncio
import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, replace
from http.client import HTTPConnection
from itertools import chain
from statistics import fmean, median
from typing import cast

import numpy as np
import psutil

from .measure.neighbours import processor_seconds, watch_neighbours
from .measure.report import Report, Section
from .measure.timing import spread

_RATE_HZ = 24_000
_SECONDS = (1, 30)
_WAYS = ("none", "relay", "front")
_ANSWER = b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n" + b"x" * 100
_PATH = "/v2/models/muq/infer"
_METHOD = "/inference.GRPCInferenceService/ModelInfer"
_COLUMNS = (
    "protocol",
    "request",
    "through",
    "p50, ms",
    "p99, ms",
    "p50 above the relay, ms",
    "processor, ms",
)
_NOTE = (
    "*above the relay*: the median over all starts of the processes, and the 10th and the 90th "
    "percentile."
)


@dataclass(frozen=True, kw_only=True)
class FrontTiming:
    """Requests of one length through one way.

    Attributes:
        protocol: HTTP or gRPC.
        audio_seconds: float32 at 24 kHz in one request.
        way: none, relay or front.
        samples_seconds: from the first byte sent to the last byte of the answer: for each start of
            the processes, one a round.
        processor_seconds: of the relay's or the front's process, for one request.
    """

    protocol: str
    audio_seconds: int
    way: str
    samples_seconds: list[list[float]]
    processor_seconds: float


@dataclass(frozen=True, kw_only=True)
class FrontReport(Report):
    """The timings; and how busy other programs kept the machine, 0 to 1."""

    neighbours: float
    timings: list[FrontTiming]

    def results(self) -> list[Section]:
        """One table."""
        relays = {
            (each.protocol, each.audio_seconds): each.samples_seconds
            for each in self.timings
            if each.way == "relay"
        }
        rows = []
        for each in self.timings:
            found = spread(list(chain.from_iterable(each.samples_seconds)))
            relay = relays[each.protocol, each.audio_seconds]
            pairs = zip(each.samples_seconds, relay, strict=True)
            above = spread([(median(ours) - median(theirs)) * 1e3 for ours, theirs in pairs])
            rows.append(
                [
                    each.protocol,
                    f"{each.audio_seconds} s, {each.audio_seconds * _RATE_HZ * 4 / 1e6:.3g} MB",
                    each.way,
                    f"{found.median * 1e3:.3f}",
                    f"{found.p99 * 1e3:.3f}",
                    f"{above.median:.3f} ({above.p10:.2f} to {above.p90:.2f})"
                    if each.way == "front"
                    else "",
                    "" if each.way == "none" else f"{each.processor_seconds * 1e3:.2f}",
                ]
            )
        return [Section("A request through the front", _COLUMNS, rows, _NOTE)]

    def remarks(self) -> list[str]:
        """Whose machine it was."""
        return [f"Other programs, these three processes among them, took {self.neighbours:.0%}."]


def measure(rounds: int, starts: int) -> FrontReport:
    """Send requests of each length each way, by turns, ``rounds`` after each start."""
    neighbours = watch_neighbours()
    timings = []
    for protocol in ("HTTP", "gRPC"):
        found = [_started(protocol, rounds) for _ in range(starts)]
        timings += [_together(list(same)) for same in zip(*found, strict=True)]
    return FrontReport(neighbours=neighbours(), timings=timings)


def _together(same: list[FrontTiming]) -> FrontTiming:
    """The timings of several starts as one."""
    return replace(
        same[0],
        samples_seconds=[each for timing in same for each in timing.samples_seconds],
        processor_seconds=fmean(each.processor_seconds for each in same),
    )


def _started(protocol: str, rounds: int) -> list[FrontTiming]:
    with (
        _process(f"serve-{protocol}") as (server, _),
        _process("relay", server) as relay,
        _process(f"front-{protocol}", server) as front,
    ):
        places = {"none": (server, None), "relay": relay, "front": front}
        return [
            timing
            for seconds in _SECONDS
            for timing in _by_turns(protocol, seconds, places, rounds)
        ]


def _by_turns(
    protocol: str, seconds: int, places: dict[str, tuple[int, psutil.Process | None]], rounds: int
) -> list[FrontTiming]:
    client = _http_client if protocol == "HTTP" else _grpc_client
    head, data = _request(seconds)
    samples: dict[str, list[float]] = {way: [] for way in _WAYS}
    processor = dict.fromkeys(_WAYS, 0.0)
    with ExitStack() as clients:
        ask = {way: clients.enter_context(client(places[way][0], head, data)) for way in _WAYS}
        for number in range(rounds + 5):
            for way in _WAYS:
                process = places[way][1]
                before = _processor_seconds(process)
                start = time.perf_counter()
                ask[way]()
                if number >= 5:  # the first are for warming up
                    samples[way].append(time.perf_counter() - start)
                    processor[way] += _processor_seconds(process) - before
    return [
        FrontTiming(
            protocol=protocol,
            audio_seconds=seconds,
            way=way,
            samples_seconds=[samples[way]],
            processor_seconds=processor[way] / rounds,
        )
        for way in _WAYS
    ]


@contextmanager
def _http_client(port: int, head: bytes, data: bytes) -> Iterator[Callable[[], None]]:
    """Sends one request over a connection and waits for the answer."""
    connection = HTTPConnection("127.0.0.1", port)
    headers = {"Inference-Header-Content-Length": str(len(head))}

    def ask() -> None:
        connection.request("POST", _PATH, head + data, headers)
        answer = connection.getresponse()
        answer.read()
        if answer.status != 200:
            raise RuntimeError(f"{port} answered {answer.status}")

    with closing(connection):
        yield ask


@contextmanager
def _grpc_client(port: int, head: bytes, data: bytes) -> Iterator[Callable[[], None]]:
    """The same over gRPC. The message is not read; its size is all that matters."""
    import grpc

    options = [("grpc.use_local_subchannel_pool", 1), ("grpc.max_send_message_length", -1)]
    with grpc.insecure_channel(f"127.0.0.1:{port}", options) as channel:
        call = channel.unary_unary(_METHOD)
        yield lambda: call(head + data)


def _request(seconds: int) -> tuple[bytes, bytes]:
    audio = np.random.default_rng(0).normal(scale=0.1, size=(1, seconds * _RATE_HZ))
    data = audio.astype(np.float32).tobytes()
    shape, parameters = [1, seconds * _RATE_HZ], {"binary_data_size": len(data)}
    described = {"name": "waveform", "shape": shape, "datatype": "FP32", "parameters": parameters}
    return json.dumps({"inputs": [described]}).encode(), data


def _processor_seconds(process: psutil.Process | None) -> float:
    return 0.0 if process is None else processor_seconds(process)


@contextmanager
def _process(part: str, port: int = 0) -> Iterator[tuple[int, psutil.Process]]:
    """A part of the measurement as a process: where it listens, and itself."""
    command = [sys.executable, "-m", __spec__.name, part, str(port)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield int(process.stdout.readline()), psutil.Process(process.pid)
        finally:
            process.terminate()


def _serve_http() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        print(listening.getsockname()[1], flush=True)
        while True:
            connection, _ = listening.accept()
            threading.Thread(target=_answer, args=(connection,), daemon=True).start()


def _answer(connection: socket.socket) -> None:
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    buffer = bytearray(1 << 20)
    with connection:
        while True:
            head = b""
            while b"\r\n\r\n" not in head:
                if not (more := connection.recv(65_536)):
                    return
                head += more
            lines, _, body = head.partition(b"\r\n\r\n")
            (length,) = (
                int(line.partition(b":")[2])
                for line in lines.lower().split(b"\r\n")
                if line.startswith(b"content-length")
            )
            left = length - len(body)
            while left > 0:
                left -= connection.recv_into(buffer)
            connection.sendall(_ANSWER)


async def _serve_grpc() -> None:
    import grpc

    async def answer(request: bytes, context: object) -> bytes:
        return b"x" * 100

    handler = grpc.unary_unary_rpc_method_handler(answer)
    service, _, method = _METHOD[1:].partition("/")
    server = grpc.aio.server(options=[("grpc.max_receive_message_length", -1)])
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler(service, {method: handler}),)
    )
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(port, flush=True)
    await server.wait_for_termination()


class _Half(asyncio.Protocol):
    """One connection of a relay."""

    peer: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.early: list[bytes] = []  # what comes before there is a peer

    def data_received(self, data: bytes) -> None:
        if self.peer is None:
            self.early.append(data)
        else:
            self.peer.write(data)

    def connection_lost(self, error: Exception | None) -> None:
        if self.peer is not None:
            self.peer.close()


class _Relay(_Half):
    """The connection of a client, which is joined to one to the server."""

    def __init__(self, port: int) -> None:
        self._port = port

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._joining = asyncio.ensure_future(self._join())

    async def _join(self) -> None:
        loop = asyncio.get_running_loop()
        self.peer, other = await loop.create_connection(_Half, "127.0.0.1", self._port)
        other.peer = self.transport
        self.peer.writelines(self.early)
        other.peer.writelines(other.early)  # of a server that speaks first


async def _relay(port: int) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: _Relay(port), "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


def _front(protocol: str, port: int) -> None:
    from ..triton_repo.front.front import Front, FrontConfig, Grpc

    config = FrontConfig(grpc=Grpc(f"127.0.0.1:{port}") if protocol == "gRPC" else None)
    with Front(("127.0.0.1", port), config=config) as front:
        print(front.grpc_port or front.port, flush=True)
        threading.Event().wait()


def _main(part: str, port: str = "0") -> None:
    """Be a part of the measurement."""
    import uvloop

    part, _, protocol = part.partition("-")
    if part == "front":
        _front(protocol, int(port))
    elif protocol == "HTTP":
        _serve_http()
    else:
        uvloop.install()
        asyncio.run(_relay(int(port)) if part == "relay" else _serve_grpc())


if __name__ == "__main__":
    _main(*sys.argv[1:])
