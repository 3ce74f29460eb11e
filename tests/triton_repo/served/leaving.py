"""Clients that give up on a gRPC call: out of time, cancelled, gone, or with half of it sent."""

import random
import socket
import struct
import time
from contextlib import suppress
from typing import Any

import grpc
import numpy as np
from tritonclient.grpc import service_pb2

SERVICE = "/inference.GRPCInferenceService/"
INFER, STREAM = SERVICE + "ModelInfer", SERVICE + "ModelStreamInfer"
TIMES_SECONDS = (1e-6, 1e-4, 3e-4, 1e-3, 2e-3, 5e-3)


def infer_request(model: str, audio: np.ndarray, **sequence: Any) -> bytes:
    """A request with one waveform; its parameters are a sequence's."""
    request = service_pb2.ModelInferRequest(model_name=model)
    tensor = request.inputs.add(name="waveform", datatype="FP32", shape=audio.shape)
    assert tensor.name == "waveform"
    request.raw_input_contents.append(audio.tobytes())
    for name, value in sequence.items():
        kind = "bool_param" if isinstance(value, bool) else "int64_param"
        setattr(request.parameters[name], kind, value)
    return bytes(request.SerializeToString())


def give_up(url: str, request: bytes, rng: random.Random) -> None:
    """Begin a call and leave it in some way."""
    way = rng.choice([out_of_time, cancelled, gone, left_stream, half_sent])
    with suppress(grpc.RpcError, OSError):
        way(url, request, rng)


def _channel(url: str) -> grpc.Channel:
    return grpc.insecure_channel(url, options=[("grpc.use_local_subchannel_pool", 1)])


def out_of_time(url: str, request: bytes, rng: random.Random) -> None:
    with _channel(url) as channel:
        grpc.channel_ready_future(channel).result(20)
        for _ in range(5):
            with suppress(grpc.RpcError):
                channel.unary_unary(INFER)(request, timeout=rng.choice(TIMES_SECONDS))


def cancelled(url: str, request: bytes, rng: random.Random) -> None:
    with _channel(url) as channel:
        for _ in range(5):
            call = channel.unary_unary(INFER).future(request)
            time.sleep(rng.choice(TIMES_SECONDS))
            call.cancel()


def gone(url: str, request: bytes, rng: random.Random) -> None:
    with _channel(url) as channel:
        calls = [channel.unary_unary(INFER).future(request) for _ in range(3)]
        time.sleep(rng.choice(TIMES_SECONDS))
    assert len(calls) == 3


def left_stream(url: str, request: bytes, rng: random.Random) -> None:
    def requests() -> Any:
        yield from [request] * 3
        time.sleep(rng.choice(TIMES_SECONDS))

    with _channel(url) as channel:
        call = channel.stream_stream(STREAM)(requests())
        for _ in range(rng.randrange(3)):
            next(call)
        time.sleep(rng.choice(TIMES_SECONDS))
        call.cancel()


def half_sent(url: str, request: bytes, rng: random.Random) -> None:
    """Half of a message, in frames of HTTP/2, and then nothing."""

    def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
        return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(
            ">I", stream
        ) + payload  # fmt: skip

    headers = {":method": "POST", ":scheme": "http", ":path": INFER, ":authority": "x"}
    headers |= {"content-type": "application/grpc", "te": "trailers"}
    block = b"".join(
        b"\0" + bytes([len(name)]) + name.encode() + bytes([len(value)]) + value.encode()
        for name, value in headers.items()
    )
    message = b"\0" + struct.pack(">I", len(request)) + request
    part = message[: min(rng.randrange(1, len(message)), 16_000)]
    host, _, port = url.rpartition(":")
    with socket.create_connection((host, int(port)), timeout=20) as connection:
        connection.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(4, 0, 0, b""))
        connection.sendall(frame(1, 4, 1, block) + frame(0, 0, 1, part))
        time.sleep(rng.choice(TIMES_SECONDS))
