"""The front for gRPC, before a server that says what reached it: no client's leaving does."""

import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from queue import Empty, Queue
from typing import Any

import pytest

pytest.importorskip("uvicorn", reason="uvicorn is not installed: pip install 'muqrt[server]'")
grpc = pytest.importorskip("grpc", reason="grpcio is not installed: pip install 'muqrt[server]'")

from google.protobuf.message import DecodeError  # noqa: E402
from hypothesis import given  # noqa: E402
from hypothesis import strategies as st  # noqa: E402
from tritonclient.grpc import service_pb2  # noqa: E402

from muqrt.triton_repo.front.admission import AdmissionConfig  # noqa: E402
from muqrt.triton_repo.front.front import Front, FrontConfig, Grpc  # noqa: E402
from muqrt.triton_repo.front.grpc.protobuf import model_name, sequence_id  # noqa: E402
from muqrt.triton_repo.front.limits import FrontLimits  # noqa: E402
from muqrt.triton_repo.front.own import Answer  # noqa: E402

from ...until import until  # noqa: E402

_SERVICE = "inference.GRPCInferenceService"
INFER, STREAM = f"/{_SERVICE}/ModelInfer", f"/{_SERVICE}/ModelStreamInfer"
READY, MODEL_READY = f"/{_SERVICE}/ServerReady", f"/{_SERVICE}/ModelReady"
WAIT_SECONDS = 30
KEY = f"muqrt-{'0123456789abcdef' * 2}-shm_2"
ERROR = f"Failed to increase the pool for key '{KEY}' to 4 bytes"


class Behind:
    """A gRPC server: answers when ``gate`` is set, and keeps what it was sent and how calls end."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.gate.set()
        self.came: Queue[bytes] = Queue()
        self.ended: Queue[bool] = Queue()
        self.metadata: Queue[Any] = Queue()
        handlers = {
            "ModelInfer": grpc.unary_unary_rpc_method_handler(self._infer),
            "ServerReady": grpc.unary_unary_rpc_method_handler(self._infer),
            "ModelStreamInfer": grpc.stream_stream_rpc_method_handler(self._stream),
        }
        self._server = grpc.server(ThreadPoolExecutor(16))
        self._server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler(_SERVICE, handlers),)
        )
        self.url = f"127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"
        self._server.start()

    def _infer(self, request: bytes, context: Any) -> bytes:
        gate = self.gate
        self.came.put(request)
        self.metadata.put(context.invocation_metadata())
        assert context.time_remaining() is None or context.time_remaining() > 10**6
        gate.wait(WAIT_SECONDS)
        if request == b"fail":
            context.abort(grpc.StatusCode.INTERNAL, ERROR)
        self.ended.put(context.is_active())
        return b"answer to " + request

    def _stream(self, requests: Iterator[bytes], context: Any) -> Iterator[bytes]:
        for request in requests:
            self.came.put(request)
            self.gate.wait(WAIT_SECONDS)
            yield b"answer to " + request
        self.ended.put(context.is_active())

    def stop(self) -> None:
        self.gate.set()
        self._server.stop(None).wait()


@pytest.fixture
def behind() -> Iterator[Behind]:
    server = Behind()
    yield server
    server.stop()


Start = Callable[..., tuple[Front, Any]]


@pytest.fixture
def fronted(behind: Behind) -> Iterator[Start]:
    """Starts a front with these settings before the server; itself and a channel to it."""
    started: list[Any] = []

    def start(**settings: Any) -> tuple[Front, Any]:
        config = FrontConfig(grpc=Grpc(behind.url), **settings)
        front = Front(("127.0.0.1", 1), config=config).__enter__()
        channel = grpc.insecure_channel(front.grpc_url)
        started.extend((front, channel))
        return front, channel

    yield start
    behind.gate.set()
    for each in reversed(started):
        each.close()


def cancel(call: Any) -> None:
    call.cancel()


def run_out_of_time(call: Any) -> None:
    with pytest.raises(grpc.RpcError):
        call.result()


def begun(infer: Any, behind: Behind, seconds: float | None) -> Any:
    """A call that has come to the server in its time, which is longer where the machine is slow."""
    while True:
        call = infer.future(b"left", timeout=seconds)
        try:
            assert behind.came.get(timeout=seconds or WAIT_SECONDS) == b"left"
        except Empty:
            assert seconds is not None and seconds < WAIT_SECONDS
            seconds *= 2
        else:
            return call


@pytest.mark.parametrize(
    ("leave", "seconds"), [(cancel, None), (run_out_of_time, 0.3)], ids=["cancelled", "late"]
)
def test_a_call_is_finished_and_holds_its_slot_until_then(
    leave: Callable[[Any], None], seconds: float | None, behind: Behind, fronted: Start
) -> None:
    front, channel = fronted(admission=AdmissionConfig(1, 0))
    infer = channel.unary_unary(INFER)
    behind.gate.clear()
    leave(begun(infer, behind, seconds))
    with pytest.raises(grpc.RpcError) as full:
        infer(b"next")
    assert full.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    behind.gate.set()
    assert behind.ended.get(timeout=WAIT_SECONDS)
    until(lambda: front.admission.running == 0)
    assert infer(b"next") == b"answer to next"


def test_who_leaves_the_queue_is_not_computed(behind: Behind, fronted: Start) -> None:
    front, channel = fronted(admission=AdmissionConfig(1, 1))
    infer = channel.unary_unary(INFER)
    behind.gate.clear()
    first = infer.future(b"first")
    assert behind.came.get(timeout=WAIT_SECONDS) == b"first"
    second = infer.future(b"second")
    until(lambda: front.admission.waiting == 1)
    second.cancel()
    until(lambda: front.admission.waiting == 0)
    behind.gate.set()
    assert first.result() == b"answer to first"
    assert infer(b"third") == b"answer to third"
    assert behind.came.get_nowait() == b"third"


@pytest.mark.parametrize("answers", [0, 1])
def test_a_stream_is_half_closed_and_drained(answers: int, behind: Behind, fronted: Start) -> None:
    front, channel = fronted()
    going = threading.Event()

    def requests() -> Iterator[bytes]:
        yield from (b"1", b"2", b"3")
        going.wait(WAIT_SECONDS)

    if not answers:
        behind.gate.clear()
    call = channel.stream_stream(STREAM)(requests())
    assert [next(call) for _ in range(answers)] == [b"answer to 1"] * answers
    assert behind.came.get(timeout=WAIT_SECONDS) == b"1"
    call.cancel()
    going.set()
    assert front.admission.running == 1 or answers
    behind.gate.set()
    assert behind.ended.get(timeout=WAIT_SECONDS)
    until(lambda: front.admission.running == 0)


def test_a_stream_that_ends_itself(behind: Behind, fronted: Start) -> None:
    front, channel = fronted()
    call = channel.stream_stream(STREAM)(iter([b"1", b"2"]))
    assert list(call) == [b"answer to 1", b"answer to 2"]
    assert call.code() is grpc.StatusCode.OK
    until(lambda: front.admission.running == 0)


def a_request(sequence: int | str) -> bytes:
    request = service_pb2.ModelInferRequest(model_name="m", raw_input_contents=[bytes(100)])
    kind = "string_param" if isinstance(sequence, str) else "int64_param"
    setattr(request.parameters["sequence_id"], kind, sequence)
    return bytes(request.SerializeToString())


@pytest.mark.parametrize("sequence", [7, "seven"])
def test_a_sequence_goes_on_when_what_was_left_of_it_is_done(
    sequence: int | str, behind: Behind, fronted: Start
) -> None:
    _, channel = fronted()
    infer = channel.unary_unary(INFER)
    behind.gate.clear()
    left = infer.future(a_request(sequence))
    behind.came.get(timeout=WAIT_SECONDS)
    left.cancel()
    following, other = infer.future(a_request(sequence)), infer.future(a_request(8))
    assert behind.came.get(timeout=WAIT_SECONDS) == a_request(8)
    assert behind.came.empty() and not following.done()
    behind.gate.set()
    assert following.result() and other.result()


def test_requests_of_a_sequence_that_get_their_slots_at_once(
    behind: Behind, fronted: Start
) -> None:
    front, channel = fronted(admission=AdmissionConfig(2, 2))
    infer, before = channel.unary_unary(INFER), behind.gate
    before.clear()
    running = [infer.future(b"running") for _ in range(2)]
    assert [behind.came.get(timeout=WAIT_SECONDS) for _ in range(2)] == [b"running"] * 2
    both = [infer.future(a_request(7)) for _ in range(2)]
    until(lambda: front.admission.waiting == 2)
    behind.gate = threading.Event()
    before.set()
    assert [each.result() for each in running] == [b"answer to running"] * 2
    until(lambda: front.admission.admitted == 4)
    ready = channel.unary_unary(READY).future(b"ready")
    came = {behind.came.get(timeout=WAIT_SECONDS) for _ in range(2)}
    assert came == {a_request(7), b"ready"} and behind.came.empty()
    behind.gate.set()
    assert all(each.result() for each in (*both, ready))


def test_metadata_of_clients_pass_but_not_ours(behind: Behind, fronted: Start) -> None:
    _, channel = fronted()
    sent = [("authorization", "Bearer x"), ("tenant-id", "1"), ("te-st", "2"), ("hostname", "3")]
    channel.unary_unary(INFER)(b"", metadata=sent)
    found = dict(behind.metadata.get(timeout=WAIT_SECONDS))
    assert "authorization" not in found
    assert dict(sent[1:]).items() <= found.items()


def test_it_answers_for_the_server_s_health(behind: Behind, fronted: Start) -> None:
    own = {"/v2/health/ready": lambda: Answer(503), "/v2/models/muq/ready": lambda: Answer(200)}
    _, channel = fronted(own=own)
    assert channel.unary_unary(READY)(b"") == b""
    asked = service_pb2.ModelReadyRequest(name="muq").SerializeToString()
    answer = service_pb2.ModelReadyResponse.FromString(channel.unary_unary(MODEL_READY)(asked))
    assert answer.ready
    assert behind.came.empty()


def test_requests_of_http_and_grpc_end_at_the_same_time(behind: Behind, fronted: Start) -> None:
    front, channel = fronted(drain_seconds=3_600, own={"/v2/health/ready": lambda: Answer(200)})
    behind.gate.clear()
    held = channel.unary_unary(INFER).future(b"held")
    behind.came.get(timeout=WAIT_SECONDS)
    head = b"POST /v2/models/m/infer HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n"
    with socket.create_connection(("127.0.0.1", front.port)) as http:
        http.sendall(head + b"Expect: 100-continue\r\n\r\n")
        assert http.recv(100).startswith(b"HTTP/1.1 100")
        closing = threading.Thread(target=front.close)
        closing.start()

        def takes_no_more() -> bool:
            try:
                # gRPC loses a call that comes while it stops: it would wait for all of the drain;
                # what is held here is let go after ``WAIT_SECONDS``.
                channel.unary_unary(READY)(b"", timeout=WAIT_SECONDS / 6)
            except grpc.RpcError:
                return True
            return False

        until(takes_no_more)
        assert closing.is_alive() and not held.done()
        behind.gate.set()
        assert held.result() == b"answer to held"
    closing.join()


def test_stopping_ends_a_stream_that_does_not_end(behind: Behind, fronted: Start) -> None:
    front, channel = fronted(drain_seconds=0)
    going = threading.Event()

    def requests() -> Iterator[bytes]:
        yield b"1"
        going.wait(WAIT_SECONDS)

    call = channel.stream_stream(STREAM)(requests())
    assert next(call) == b"answer to 1"
    front.close()
    with pytest.raises(grpc.RpcError):
        next(call)
    going.set()


def test_too_much_at_once_is_refused(behind: Behind, fronted: Start) -> None:
    _, channel = fronted(limits=FrontLimits(client_buffered_bytes=150))
    infer = channel.unary_unary(INFER)
    behind.gate.clear()
    held = infer.future(bytes(100))
    behind.came.get(timeout=WAIT_SECONDS)
    with pytest.raises(grpc.RpcError, match="too much audio on its way") as full:
        infer(bytes(100))
    assert full.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    behind.gate.set()
    assert held.result()


def test_messages_of_a_stream_count_while_they_are_passed_on(
    behind: Behind, fronted: Start
) -> None:
    front, channel = fronted(limits=FrontLimits(client_buffered_bytes=150))
    stream, piece = channel.stream_stream(STREAM), bytes(100)
    assert list(stream(iter([piece] * 3))) == [b"answer to " + piece] * 3
    behind.gate.clear()
    held = channel.unary_unary(INFER).future(b"held" + piece)
    until(lambda: behind.came.get(timeout=WAIT_SECONDS) == b"held" + piece)
    with pytest.raises(grpc.RpcError, match="too much audio on its way") as full:
        list(stream(iter([piece])))
    assert full.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    behind.gate.set()
    assert held.result()
    until(lambda: front.admission.running == 0)
    assert list(stream(iter([piece]))) == [b"answer to " + piece]


def test_no_error_has_the_name_of_shared_memory(behind: Behind, fronted: Start) -> None:
    _, channel = fronted()
    with pytest.raises(grpc.RpcError) as failed:
        channel.unary_unary(INFER)(b"fail")
    assert failed.value.details() == ERROR.replace(KEY, "x" * len(KEY))


def test_refusals_are_counted(behind: Behind, fronted: Start) -> None:
    front, channel = fronted(admission=AdmissionConfig(1, 0))
    infer = channel.unary_unary(INFER)
    behind.gate.clear()
    held = infer.future(b"held")
    behind.came.get(timeout=WAIT_SECONDS)
    with pytest.raises(grpc.RpcError):
        infer(b"refused")
    text = front.metrics_text()
    assert "muqrt_front_admitted_total 1\n" in text
    assert 'muqrt_front_refused_total{reason="full"} 1\n' in text
    assert "muqrt_front_running 1\n" in text
    behind.gate.set()
    assert held.result()


_PARAMETER = st.one_of(
    st.booleans().map(lambda value: ("bool_param", value)),
    st.integers(-(2**63), 2**63 - 1).map(lambda value: ("int64_param", value)),
    st.text().map(lambda value: ("string_param", value)),
    st.floats(allow_nan=False).map(lambda value: ("double_param", value)),
)


@given(
    st.text(),
    st.dictionaries(st.text(), _PARAMETER, max_size=4),
    st.one_of(st.none(), st.integers(1, 2**63 - 1), st.text(min_size=1)),
    st.binary(max_size=300),
)
def test_the_id_of_a_sequence_is_found(
    name: str, others: dict[str, tuple[str, Any]], sequence: int | str | None, data: bytes
) -> None:
    request = service_pb2.ModelInferRequest(model_name=name, raw_input_contents=[data])
    for key, (kind, value) in others.items():
        if key != "sequence_id":
            setattr(request.parameters[key], kind, value)
    if sequence is not None:
        kind = "string_param" if isinstance(sequence, str) else "int64_param"
        setattr(request.parameters["sequence_id"], kind, sequence)
    expected = sequence.encode() if isinstance(sequence, str) else sequence or 0
    assert sequence_id(request.SerializeToString()) == expected
    asked = service_pb2.ModelReadyRequest(name=name, version="1")
    assert model_name(asked.SerializeToString()) == name


@given(st.binary(max_size=200))
def test_what_is_no_message_has_no_sequence(data: bytes) -> None:
    found = sequence_id(data)
    model_name(data)
    try:
        request = service_pb2.ModelInferRequest.FromString(data)
    except DecodeError:
        return
    if "sequence_id" not in request.parameters:
        assert found == 0
