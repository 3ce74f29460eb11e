"""What the client says when there is no server, and how it waits for a full queue."""

import time
from collections.abc import Callable

import numpy as np
import pytest

from muqrt.errors import MissingDependencyError, ServerError
from muqrt.triton_repo import extras
from muqrt.triton_repo.client import connection
from muqrt.triton_repo.client import session as client
from muqrt.triton_repo.client.session import TritonSession, statistics


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses that were asked for; none is taken."""
    taken: list[float] = []
    monkeypatch.setattr("time.sleep", taken.append)
    return taken


def full_queue(failures: int) -> Callable[[], str]:
    """A call that finds the queue full that many times, then answers."""
    answers = iter([False] * failures + [True])

    def attempt() -> str:
        if not next(answers):
            raise connection.BusyError("full")
        return "answer"

    return attempt


@pytest.mark.parametrize("call", [TritonSession, statistics])
def test_an_unreachable_server_is_named_with_the_command(call: type) -> None:
    with pytest.raises(ServerError, match=r"localhost:1 cannot be reached(.|\n)*muqrt serve"):
        call("localhost:1")


def test_a_web_address_is_refused() -> None:
    with pytest.raises(ServerError, match="host:port"):
        TritonSession("http://localhost:8001")


def test_a_missing_package_is_named_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise ModuleNotFoundError(f"No module named {name!r}")

    monkeypatch.setattr(extras, "import_module", missing)
    with pytest.raises(
        MissingDependencyError, match=r"tritonclient.*pip install 'muqrt\[server\]'"
    ):
        TritonSession()


def test_a_full_queue_is_tried_again_with_growing_pauses(pauses: list[float]) -> None:
    attempt = full_queue(failures=4)
    assert client._while_queue_is_full(attempt, time.monotonic() + 60) == "answer"
    assert len(pauses) == 4
    assert pauses[0] < pauses[3] < 1


def test_a_queue_that_stays_full_is_an_error_in_the_end(pauses: list[float]) -> None:
    attempt = full_queue(failures=100)
    with pytest.raises(ServerError, match="full"):
        client._while_queue_is_full(attempt, time.monotonic() + 60)
    assert sum(pauses) < 10


def test_no_pause_goes_past_the_deadline(pauses: list[float]) -> None:
    with pytest.raises(ServerError, match="full"):
        client._while_queue_is_full(full_queue(failures=1), time.monotonic())
    assert pauses == []


def test_what_grpc_cannot_carry_is_refused_before_it_is_sent() -> None:
    # A view of one value: 2 GiB to look at, none in memory.
    huge = np.broadcast_to(np.zeros(1, np.float32), (1, 1 << 29))
    with pytest.raises(ServerError, match=r"waveform is 2\.0 GiB"):
        connection.as_tensor("waveform", huge)
