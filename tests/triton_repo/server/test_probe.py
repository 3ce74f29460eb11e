"""The tiny inference: its shape for every kind of model, and what answers mean."""

import json
import socket
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from muqrt.triton_repo.server.probe import Answer, Probe
from muqrt.triton_repo.server.process import Server

FRAMING = {"muqrt.framing": {"string_value": '{"step_samples":960,"minimum_samples":1025}'}}


def config(*inputs: tuple[str, str, list[int], bool], **fields: Any) -> dict[str, Any]:
    tensors = [
        {"name": name, "data_type": kind, "dims": dims, "optional": optional}
        for name, kind, dims, optional in inputs
    ]
    return {"name": "model", "max_batch_size": 4, "input": tensors, **fields}


def test_a_waveform_is_as_short_as_the_model_allows() -> None:
    probe = Probe.of(config(("waveform", "TYPE_FP32", [-1], False), parameters=FRAMING))
    assert probe.path == "/v2/models/model/infer"
    (tensor,) = probe.body["inputs"]
    assert tensor == {
        "name": "waveform",
        "shape": [1, 1025],
        "datatype": "FP32",
        "data": [0.0] * 1025,
    }


def test_optional_inputs_are_left_out_unless_nothing_is_computed_without_them() -> None:
    probe = Probe.of(
        config(
            ("waveform", "TYPE_FP32", [-1], True),
            ("labels", "TYPE_UINT8", [-1], True),
            ("pcm", "TYPE_INT16", [-1], True),
        )
    )
    assert [each["name"] for each in probe.body["inputs"]] == ["waveform", "labels"]
    assert bytes(probe.body["inputs"][1]["data"]) == b"a" * 16


@pytest.mark.parametrize(
    ("kind", "datatype", "value"),
    [
        ("TYPE_INT64", "INT64", 1),
        ("TYPE_STRING", "BYTES", "a"),
        ("TYPE_BOOL", "BOOL", True),
        ("TYPE_FP16", "FP16", 0.0),
    ],
)
def test_dimensions_and_types_are_the_configuration_s(
    kind: str, datatype: str, value: object
) -> None:
    probe = Probe.of(config(("x", kind, [2, -1], False), max_batch_size=0))
    (tensor,) = probe.body["inputs"]
    assert (tensor["shape"], tensor["datatype"]) == ([2, 16], datatype)
    assert tensor["data"] == [value] * 32


@pytest.mark.parametrize(
    ("status", "message", "meaning"),
    [
        (200, "{}", Answer.WORKS),
        (400, "the text is not UTF-8", Answer.WORKS),
        (400, "Request for unknown model: 'm' has no available versions", Answer.FAILS),
        (500, "Stub process 'm_0_0' is not healthy.", Answer.FAILS),
        (503, "Exceeds maximum queue size", Answer.BUSY),
        (503, "too many live streams", Answer.BUSY),
    ],
)
def test_what_an_answer_means(status: int, message: str, meaning: Answer) -> None:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            self.send_response(status)
            self.end_headers()
            self.wfile.write(message.encode())

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.handle_request).start()
        url = f"http://127.0.0.1:{server.server_port}"
        assert Probe("/v2/models/m/infer", {}, False).send(url, 5) is meaning


def test_silence_and_absence_differ() -> None:
    probe = Probe("/v2/models/m/infer", {}, False)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        assert probe.send(url, 0.1) is Answer.SILENT
    assert probe.send(url, 5) is Answer.GONE


DECOUPLED = """
import numpy as np
import triton_python_backend_utils as pb_utils
from muqrt.triton_repo.backends.onnxruntime.model import Shared

class TritonPythonModel:
    def execute(self, requests):
        for request in requests:
            value = np.from_dlpack(pb_utils.get_input_tensor_by_name(request, "x"))
            answer = pb_utils.Tensor.from_dlpack("y", Shared(value.copy()))
            sender = request.get_response_sender()
            sender.send(pb_utils.InferenceResponse([answer]))
            sender.send(flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)
"""


@pytest.mark.server
@pytest.mark.full
def test_a_decoupled_model_is_asked_too(
    start_server: Callable[..., Server], tmp_path: Path
) -> None:
    version = tmp_path / "models" / "many" / "1"
    version.mkdir(parents=True)
    (version / "model.py").write_text(DECOUPLED)
    (version.parent / "config.pbtxt").write_text(
        'name: "many" backend: "python" model_transaction_policy { decoupled: true }'
        'input { name: "x" data_type: TYPE_INT32 dims: -1 }'
        'output { name: "y" data_type: TYPE_INT32 dims: -1 }'
    )
    server = start_server(tmp_path / "models")
    probe = Probe.of(json.loads(server.http.get("/v2/models/many/config")))
    assert probe.path.endswith("generate_stream")
    assert probe.send(server.http_url, 10) is Answer.WORKS
    # Counted a moment after the answer.
    deadline = time.monotonic() + 10
    while not json.loads(server.http.get("/v2/models/many/stats"))["model_stats"][0][
        "inference_count"
    ]:
        assert time.monotonic() < deadline
