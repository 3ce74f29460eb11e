"""The load on a real server: every hop of it, full, and killed streams."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from muqrt.runtime.bundle.manifest import load_bundle
from muqrt.triton_repo.contract.stream import StreamOptions
from muqrt.triton_repo.front.front import Tls
from muqrt.triton_repo.front.tokens import Tokens
from muqrt.triton_repo.repository.write import write_stream_repository
from muqrt.triton_repo.server.process import Server

from ...fronted import fronted

pytestmark = pytest.mark.server

Command = Callable[..., CompletedProcess[str]]

TOKEN = "0123456789abcdef" * 2
MAX_STREAMS = 6
IDLE_SECONDS = 1.5


@pytest.fixture(scope="module")
def live_server(tagged_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A real server of a few live streams."""
    folder = tmp_path_factory.mktemp("live")
    options = StreamOptions(max_streams=MAX_STREAMS, idle_seconds=IDLE_SECONDS, threads=1)
    write_stream_repository(load_bundle(tagged_bundle), folder / "models", options=options)
    limits = {"start_timeout_seconds": 120, "exit_timeout_seconds": 1}
    with Server(folder / "models", log=folder / "log", **limits) as running:
        yield running


@pytest.fixture(scope="module")
def live_url(live_server: Server) -> Iterator[str | None]:
    with fronted(live_server) as front:
        yield front.grpc_url


@pytest.fixture
def streams(live_server: Server, live_url: str, muqrt: Command) -> Callable[..., dict[str, object]]:
    """Runs the command on the server; its JSON."""

    def run(*options: object) -> dict[str, object]:
        watched = ("--pid", live_server.pid, "--metrics", live_server.metrics_url)
        done = muqrt("bench", "streams", "--server", live_url, *watched, "--json", *options)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return run


def test_streams_beyond_the_limit_are_refused_and_the_others_answered(
    streams: Callable[..., dict[str, object]],
) -> None:
    # The first test here: streams that were killed would hold places for a while.
    figures = streams("--streams", MAX_STREAMS + 2, "--seconds", 3)["figures"]
    assert (figures["streams_opened"], figures["streams_refused"]) == (MAX_STREAMS, 2)
    # At 2.0, 2.5 and 3.0 s.
    assert (figures["hops"], figures["hops_unanswered"]) == (3 * MAX_STREAMS, 0)


def test_streams_are_answered_and_those_that_vanish_are_forgotten(
    streams: Callable[..., dict[str, object]], tmp_path: Path
) -> None:
    options = ("--streams", 3, "--seconds", 3, "--disconnect", 0.4, "-o", tmp_path / "load")
    figures = streams(*options)["figures"]
    assert (figures["streams_opened"], figures["streams_vanished"]) == (4, 1)
    assert (figures["errors"], figures["streams_refused"], figures["not_ready"]) == (0, 0, 0)
    assert figures["hops_unanswered"] == 0
    assert figures["hops"] >= 6
    assert 0 < figures["service_p50_ms"] < figures["latency_p50_ms"]
    assert figures["real_time_factor"] > 0
    assert figures["rss_peak_mb"] > 50
    assert "times it was not | 0" in (tmp_path / "load.md").read_text()


def test_churn_loses_no_slot_of_a_full_server(streams: Callable[..., dict[str, object]]) -> None:
    figures = streams("--churn", 20, "--streams", 9, "--idle-seconds", 20)["figures"]
    assert (figures["streams_opened"], figures["streams_vanished"]) == (20, 7)
    assert figures["refusals"] > 0
    assert (figures["errors"], figures["slots_lost"], figures["not_ready"]) == (0, 0, 0)


def test_metrics_and_processes_that_are_not_there(
    live_server: Server, live_url: str, muqrt: Command
) -> None:
    where = ("bench", "streams", "--server", live_url)
    done = muqrt(*where, "--metrics", f"{live_server.http_url}/nothing")
    assert done.returncode == 3
    assert "gives no metrics" in done.stderr
    done = muqrt(*where, "--pid", 2**22 + 1)
    assert done.returncode == 2
    assert "no such process" in done.stderr


def test_a_server_with_tls_and_tokens(
    live_server: Server, certificate: tuple[Path, Path, Path], tmp_path: Path, muqrt: Command
) -> None:
    authority, chain, key = certificate
    (tmp_path / "tokens").write_text(TOKEN)
    locks = {"tls": Tls(chain, key), "tokens": Tokens(tmp_path / "tokens")}
    with fronted(live_server, **locks) as front:
        where = ("bench", "streams", "--server", f"localhost:{front.grpc_port}", "--json")
        load = ("--streams", 1, "--seconds", 3)
        done = muqrt(*where, *load, "--ca", authority, "--token", TOKEN)
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["figures"]["hops_unanswered"] == 0
        done = muqrt(*where, *load, "--ca", authority, "--token", TOKEN[::-1])
        assert done.returncode == 3
        assert "wants a token" in done.stderr
    done = muqrt("bench", "streams", "--token", TOKEN)
    assert done.returncode == 2
    assert "are for --server" in done.stderr
