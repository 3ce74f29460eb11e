"""Many clients that behave badly: the memory stays flat, and every slot comes back."""

import gc
import json
import os
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from muqrt.gateway.limits import GatewayLimits
from muqrt.gateway.server import Gateway
from muqrt.triton_repo.front.admission import AdmissionConfig

from ..until import until
from .conftest import Start, ask
from .test_streams import opened

pytestmark = [pytest.mark.full, pytest.mark.slow]

_MIB = 1 << 20
LIMITS = GatewayLimits(streams=64, resume_seconds=0.2, ping_seconds=0.5, idle_seconds=5.0)


def memory_mib() -> float:
    gc.collect()
    return psutil.Process(os.getpid()).memory_info().rss / _MIB


def is_idle(gateway: Gateway) -> bool:
    return "gateway_streams 0\n" in gateway.metrics_text() and gateway.admission.running == 0


def vanish(gateway: Gateway, number: int) -> None:
    """Begin a stream, send some sound, and go away: properly, by a reset, or in a frame."""
    client = opened(gateway, "rate=24000", open_timeout=60)
    try:
        if json.loads(client.recv(timeout=60))["type"] != "session":
            return
        client.send(np.random.default_rng(number).normal(0, 0.1, 60_000).astype("<f4").tobytes())
        if number % 3 == 0:
            client.close()
        elif number % 3 == 1:
            linger = (1).to_bytes(4, "little") + (0).to_bytes(4, "little")
            client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        else:
            client.socket.send(b"\x82\xfe\x10\x00")
    finally:
        client.socket.close()


def test_200_streams_that_vanish(start: Start) -> None:
    gateway = start(limits=LIMITS)

    def round_of(count: int) -> None:
        with ThreadPoolExecutor(16) as pool:
            list(pool.map(lambda number: vanish(gateway, number), range(count)))
        until(lambda: is_idle(gateway))

    round_of(50)
    before = memory_mib()
    threads = threading.active_count()
    round_of(200)
    assert memory_mib() < before + 48
    until(lambda: threading.active_count() <= threads + 16)


def test_encoded_streams_that_vanish_leave_no_thread(start: Start, music: Path) -> None:
    pytest.importorskip("av")
    gateway, data = start(limits=LIMITS), (music / "ode_to_joy_band.ogg").read_bytes()
    for number in range(20):
        with opened(gateway, "format=encoded") as client:
            client.recv(timeout=60)
            client.send(data[: 1000 * number])
            client.socket.close()
    until(lambda: is_idle(gateway))
    with opened(gateway, "format=encoded") as client:
        client.recv(timeout=60)
        client.send(data)
        client.send("end")
        last: dict[str, Any] = {}
        while last.get("type") not in ("segments", "error"):
            last = json.loads(client.recv(timeout=60))
        assert last["type"] == "segments"


def half_open(gateway: Gateway) -> socket.socket:
    """A socket whose handshake is done, and on which nothing more is read: no ping is answered."""
    client = socket.create_connection(("127.0.0.1", gateway.port), timeout=60)
    client.sendall(
        b"GET /v1/stream?rate=24000 HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n"
        b"Connection: Upgrade\r\nSec-WebSocket-Key: bXVxcnQtbXVxcnQtbXVxcg==\r\n"
        b"Sec-WebSocket-Version: 13\r\n\r\n"
    )
    seen = b""
    while b'"session"' not in seen:
        more = client.recv(4096)
        assert more, seen
        seen += more
    return client


def test_half_open_sockets_and_clients_that_do_not_read(start: Start) -> None:
    gateway = start(limits=LIMITS)
    # A second of sound in one message; its mask is zero.
    second = b"\x82\xff" + (96_000).to_bytes(8, "big") + bytes(4) + bytes(96_000)
    clients = [half_open(gateway) for _ in range(20)]
    assert "gateway_streams 20\n" in gateway.metrics_text()
    for client in clients[::2]:
        client.sendall(second)
    until(lambda: is_idle(gateway))
    assert "gateway_streams_expired_total 20\n" in gateway.metrics_text()
    for client in clients:
        client.close()


def test_10_000_requests(start: Start, clip: Path) -> None:
    gateway = start(admission=AdmissionConfig(running=2, waiting=8))
    body, bad = clip.read_bytes(), [b"", b"\0" * 3000, b"no audio" * 500]

    def request(number: int) -> int:
        given = body if number % 100 == 0 else bad[number % len(bad)]
        return ask(gateway, "/v1/embeddings", given)[0]

    def round_of(count: int) -> set[int]:
        with ThreadPoolExecutor(8) as pool:
            return set(pool.map(request, range(count)))

    round_of(1_000)
    before = memory_mib()
    assert round_of(10_000) <= {200, 400, 422, 429}
    assert memory_mib() < before + 32
    assert is_idle(gateway)


def test_uploads_are_not_held_in_memory(start: Start) -> None:
    gateway = start()
    before = memory_mib()
    peak = 0.0
    done = threading.Event()

    def look() -> None:
        nonlocal peak
        while not done.wait(0.01):
            peak = max(peak, psutil.Process(os.getpid()).memory_info().rss / _MIB)

    looking = threading.Thread(target=look)
    looking.start()
    pieces = (bytes(1 << 20) for _ in range(200))
    status = ask(gateway, body=pieces, transfer_encoding="chunked")[0]
    done.set()
    looking.join()
    assert status == 422
    assert peak < before + 64
