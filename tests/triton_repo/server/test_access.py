"""What a client without the key can do to a server: nothing but use its models."""

import json
import stat
from collections.abc import Callable
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import numpy as np
import psutil
import pytest
import tritonclient.grpc as triton
from tritonclient.utils import InferenceServerException

from muqrt.triton_repo.server.access import RestrictedApis
from muqrt.triton_repo.server.process import Server

pytestmark = pytest.mark.server

REGION = {"key": "/muqrt", "offset": 0, "byte_size": 4}
LOAD = {"parameters": {"config": "{}"}}


def buffers(server: Server) -> list[Path]:
    return list(Path("/dev/shm").glob(f"{server._shared_memory}*"))


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("systemsharedmemory/region/x/register", REGION),
        ("systemsharedmemory/status", None),
        ("systemsharedmemory/unregister", {}),
        ("cudasharedmemory/status", None),
        ("logging", None),
        ("logging", {"log_file": "/tmp/muqrt-was-here"}),
        ("trace/setting", None),
        ("trace/setting", {"trace_file": "/tmp/muqrt-was-here"}),
        ("models/muq/trace/setting", {"trace_file": "/tmp/muqrt-was-here"}),
        ("repository/index", {}),
        ("repository/models/muq/unload", {}),
        ("repository/models/muq/load", LOAD),
    ],
)
def test_http_apis_that_rule_the_server_need_the_key(
    path: str, body: dict[str, object] | None, server: Server
) -> None:
    for headers in ({}, {"muqrt-key": ""}, {"muqrt-key": "x" * 64}):
        data = None if body is None else json.dumps(body).encode()
        with pytest.raises(HTTPError) as refused:
            urlopen(Request(f"{server.http_url}/v2/{path}", data, headers), timeout=10)
        assert refused.value.code == 403
    assert server.models() == {"muq": "READY"}
    assert not Path("/tmp/muqrt-was-here").exists()


GRPC: dict[str, Callable[[triton.InferenceServerClient], object]] = {
    "register": lambda client: client.register_system_shared_memory("x", "/muqrt", 4),
    "register cuda": lambda client: client.register_cuda_shared_memory("x", b"x" * 64, 0, 4),
    "regions": lambda client: client.get_system_shared_memory_status(),
    "unregister": lambda client: client.unregister_system_shared_memory(),
    "log": lambda client: client.update_log_settings({"log_file": "/tmp/muqrt-was-here"}),
    "log settings": lambda client: client.get_log_settings(),
    "trace": lambda client: client.update_trace_settings(settings={"trace_file": "/tmp/x"}),
    "trace settings": lambda client: client.get_trace_settings(),
    "index": lambda client: client.get_model_repository_index(),
    "unload": lambda client: client.unload_model("muq"),
    "load": lambda client: client.load_model("muq", config="{}"),
}


@pytest.mark.parametrize("call", GRPC)
def test_grpc_apis_that_rule_the_server_need_the_key(call: str, server: Server) -> None:
    with triton.InferenceServerClient(server.grpc_url) as client:
        with pytest.raises(InferenceServerException, match="restricted"):
            GRPC[call](client)
        assert client.is_model_ready("muq")


@pytest.mark.parametrize("what", ["input", "output"])
def test_nobody_can_name_a_region_that_is_not_registered(what: str, server: Server) -> None:
    waveform = triton.InferInput("waveform", [1, 2_000], "FP32")
    waveform.set_data_from_numpy(np.zeros((1, 2_000), np.float32))
    output = triton.InferRequestedOutput("embedding")
    region = buffers(server)[0].name
    (waveform if what == "input" else output).set_shared_memory(region, 8_000)
    with triton.InferenceServerClient(server.grpc_url) as client:
        with pytest.raises(InferenceServerException, match="Unable to find") as refused:
            client.infer("muq", [waveform], outputs=[output])
        # The region that was asked for, and no other name or key.
        assert server._shared_memory not in refused.value.message().replace(region, "")


@pytest.mark.full
def test_shared_memory_can_be_allowed(start_server: Callable[..., Server], tmp_path: Path) -> None:
    server = start_server(allow_shared_memory=True)
    with triton.InferenceServerClient(server.grpc_url) as client:
        assert not client.get_system_shared_memory_status().regions
        with pytest.raises(InferenceServerException, match="restricted"):
            client.unload_model("muq")


def test_other_users_find_neither_the_key_nor_the_buffers(server: Server) -> None:
    arguments = psutil.Process(server.pid).cmdline()
    assert any(each.startswith("--http-restricted-api=shared-memory") for each in arguments)
    assert not any(key in each for key in server.headers.values() for each in arguments)
    assert f"--http-port={server.http_port}" in arguments
    assert server.models() == {"muq": "READY"}
    assert buffers(server)
    assert {stat.S_IMODE(each.stat().st_mode) for each in buffers(server)} == {0o600}


def test_every_start_has_another_key() -> None:
    apis = RestrictedApis()
    (before,) = apis.headers.values()
    apis.renew()
    assert len(before) == 64 and before not in apis.headers.values()
    assert all(
        "shared-memory" not in each for each in RestrictedApis(["shared-memory"]).arguments()
    )
