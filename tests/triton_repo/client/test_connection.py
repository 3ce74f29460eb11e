"""What a server's refusals mean for the client."""

import pytest

from muqrt.errors import ServerError
from muqrt.triton_repo.client.connection import (
    BusyError,
    GoneError,
    LostStreamError,
    explained,
    host_and_port,
)
from muqrt.triton_repo.client.endpoint import Endpoint

utils = pytest.importorskip("tritonclient.utils")


@pytest.mark.parametrize(
    ("status", "details", "kind", "message"),
    [
        ("UNAVAILABLE", "failed to connect to all addresses", GoneError, "cannot be reached"),
        ("UNAVAILABLE", "Socket closed", GoneError, "went away"),
        ("UNAVAILABLE", "Server is stopping, scheduler for model has stopped", GoneError, "away"),
        ("UNAVAILABLE", "Exceeds maximum queue size", BusyError, "too many requests waiting"),
        ("UNAVAILABLE", "too many live streams: 2 of 2", BusyError, "no more live streams"),
        (
            "NOT_FOUND",
            "no such stream 7: it has ended",
            LostStreamError,
            "no longer has the stream",
        ),
        (
            "INVALID_ARGUMENT",
            "inference request for sequence 7 to model 'muq_stream' must specify the START flag",
            LostStreamError,
            "no longer has the stream",
        ),
        ("NOT_FOUND", "unknown model: 'muq'", ServerError, "serves no model 'muq'"),
        ("UNAVAILABLE", "Request for unknown model: 'muq'", ServerError, "serves no model"),
        ("UNAVAILABLE", "Request timeout expired", ServerError, "overloaded"),
        ("DEADLINE_EXCEEDED", "Deadline Exceeded", ServerError, "did not answer in time"),
        ("RESOURCE_EXHAUSTED", "too many requests at once", BusyError, "takes no more now"),
        ("RESOURCE_EXHAUSTED", "too many live streams: 2 of 2", BusyError, "live streams now"),
        ("RESOURCE_EXHAUSTED", "too much audio on its way", BusyError, "takes no more now"),
        ("RESOURCE_EXHAUSTED", "Exceeds maximum queue size", BusyError, "requests waiting"),
        ("UNAUTHENTICATED", "send a token", ServerError, "MUQRT_TOKEN"),
        ("RESOURCE_EXHAUSTED", "Received message larger", ServerError, "too large"),
        ("INVALID_ARGUMENT", "song: out of order", ServerError, "refused the request: song"),
    ],
)
def test_each_refusal(status: str, details: str, kind: type, message: str) -> None:
    error = utils.InferenceServerException(details, f"StatusCode.{status}")
    found = explained(error, "localhost:8001", "muq")
    assert type(found) is kind
    assert message in str(found)
    assert "localhost:8001" in str(found)


@pytest.mark.parametrize(
    ("given", "address"),
    [
        ("localhost", "localhost:8001"),
        ("grpc://localhost:9", "localhost:9"),
        ("10.0.0.1", "10.0.0.1:8001"),
        ("[::1]", "[::1]:8001"),
        ("[::1]:7", "[::1]:7"),
    ],
)
def test_without_a_port_it_is_tritons(given: str, address: str) -> None:
    assert host_and_port(given) == address


@pytest.mark.parametrize("given", ["", "http://a:8000", "localhost:", "a:http", "a b"])
def test_what_is_no_address(given: str) -> None:
    with pytest.raises(ServerError, match="write host:port"):
        host_and_port(given)


def test_a_missing_live_model_is_written_with_its_option() -> None:
    error = utils.InferenceServerException("unknown model: 'muq_stream'", "StatusCode.NOT_FOUND")
    assert str(explained(error, "a:1", "muq_stream")).endswith(
        "repository BUNDLE -o MODELS --stream"
    )


def test_a_token_is_shown_to_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MUQRT_TOKEN", "of the environment")
    by_default = Endpoint("grpcs://host:1")
    assert by_default.headers == {"authorization": "Bearer of the environment"}
    assert (by_default.is_secure, by_default.address) == (True, "host:1")
    assert "environment" not in repr(by_default) and str(by_default) == "grpcs://host:1"
    assert Endpoint("host:1", token="given").headers == {"authorization": "Bearer given"}
    with pytest.raises(ServerError, match=r"in the open.*grpcs://host:1"):
        Endpoint("host:1").check("host:1")
    for local in ("localhost:1", "127.0.0.1:1", "[::1]:1"):
        Endpoint(local).check(local)
