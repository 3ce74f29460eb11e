"""What the client says when there is no server, and how it waits for a full queue."""

import numpy as np
import pytest

from muqrt.common import environment
from muqrt.errors import MissingDependencyError, ServerError
from muqrt.triton_repo.client import connection
from muqrt.triton_repo.client.session import TritonSession, statistics


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

    monkeypatch.setattr(environment, "import_module", missing)
    with pytest.raises(
        MissingDependencyError, match=r"tritonclient.*pip install 'muqrt\[server\]'"
    ):
        TritonSession()


def test_what_grpc_cannot_carry_is_refused_before_it_is_sent() -> None:
    # A view of one value: 2 GiB to look at, none in memory.
    huge = np.broadcast_to(np.zeros(1, np.float32), (1, 1 << 29))
    with pytest.raises(ServerError, match=r"waveform is 2\.0 GiB"):
        connection.as_tensor("waveform", huge)
