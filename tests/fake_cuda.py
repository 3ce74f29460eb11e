"""Takes the place of ``cuda.bindings.runtime`` where there is no GPU: memory is the host's.

It is as asynchronous as the real one: what is queued in a stream runs when somebody waits for it.
Memory is full of NaNs at first, and whoever touches what is not allocated fails.
``test_tensorrt_api.py`` holds the signatures against the real binding's.
"""

import ctypes
from collections.abc import Callable
from enum import IntEnum
from types import SimpleNamespace
from typing import Any

ALIGNMENT_BYTES = 256
_POISON = 0xFF  # four of them are a NaN


class Error(IntEnum):
    cudaSuccess = 0  # noqa: N815
    cudaErrorMemoryAllocation = 2  # noqa: N815
    cudaErrorInsufficientDriver = 35  # noqa: N815
    cudaErrorNoDevice = 100  # noqa: N815
    cudaErrorStreamCaptureInvalidated = 901  # noqa: N815


class Stream:
    """A queue, and where it goes while it is recorded."""

    def __init__(self, number: int) -> None:
        self._number = number
        self.queue: list[Callable[[], None]] = []
        self.recording: list[Callable[[], None]] | None = None

    def __int__(self) -> int:
        return self._number

    def put(self, work: Callable[[], None]) -> None:
        (self.queue if self.recording is None else self.recording).append(work)


class FakeCuda:
    """Of one GPU; ``calls`` are the names of the calls made, ``memory_bytes`` is all there is."""

    cudaStreamNonBlocking = 1  # noqa: N815
    cudaError_t = Error  # noqa: N815
    cudaMemcpyKind = SimpleNamespace(cudaMemcpyDefault=4)  # noqa: N815
    cudaStreamCaptureMode = SimpleNamespace(  # noqa: N815
        cudaStreamCaptureModeThreadLocal=1
    )

    def __init__(self, compute_capability: tuple[int, int] = (9, 0), memory_bytes: int = 1 << 30):
        self.major, self.minor = compute_capability
        self.memory_bytes = memory_bytes
        self.gpus: int | Error = 1
        self.calls: list[str] = []
        self.streams: dict[int, Stream] = {}
        self.recordings: list[Any] = []
        self._blocks: dict[int, Any] = {}

    def count(self, call: str) -> int:
        return self.calls.count(call)

    @property
    def allocated_bytes(self) -> int:
        return sum(size for _, size in self._blocks.values())

    def bytes_at(self, address: int, size: int) -> Any:
        """Allocated memory, to be read and written."""
        for start, (_, length) in self._blocks.items():
            if start <= address and address + size <= start + length:
                return (ctypes.c_byte * size).from_address(address)
        raise AssertionError(f"{size} bytes at {address:#x} are not allocated")

    def cudaGetErrorString(self, error: Error) -> tuple[Error, bytes]:
        return Error.cudaSuccess, error.name.encode()

    def cudaGetDeviceCount(self) -> tuple[Any, ...]:
        if isinstance(self.gpus, Error):
            return (self.gpus, None)
        return Error.cudaSuccess, self.gpus

    def cudaSetDevice(self, device: int) -> tuple[Error]:
        return (Error.cudaSuccess,)

    def cudaGetDeviceProperties(self, device: int) -> tuple[Error, Any]:
        facts = SimpleNamespace(name=b"Fake GPU", major=self.major, minor=self.minor)
        return Error.cudaSuccess, facts

    def cudaDriverGetVersion(self) -> tuple[Error, int]:
        return Error.cudaSuccess, 13020

    def cudaMalloc(self, size: int) -> tuple[Any, ...]:
        return self._allocate(size)

    def cudaMallocHost(self, size: int) -> tuple[Any, ...]:
        return self._allocate(size)

    def cudaFree(self, devPtr: int) -> tuple[Error]:
        del self._blocks[devPtr]
        return (Error.cudaSuccess,)

    def cudaFreeHost(self, ptr: int) -> tuple[Error]:
        del self._blocks[ptr]
        return (Error.cudaSuccess,)

    def cudaStreamCreateWithFlags(self, flags: int) -> tuple[Error, Stream]:
        stream = Stream(0x1000 + len(self.calls))
        self.calls.append("cudaStreamCreateWithFlags")
        self.streams[int(stream)] = stream
        return Error.cudaSuccess, stream

    def cudaStreamDestroy(self, stream: Stream) -> tuple[Error]:
        assert not stream.queue
        del self.streams[int(stream)]
        return (Error.cudaSuccess,)

    def cudaMemcpyAsync(
        self, dst: int, src: int, count: int, kind: int, stream: Stream
    ) -> tuple[Error]:
        self.calls.append("cudaMemcpyAsync")

        def copy() -> None:
            ctypes.memmove(self.bytes_at(dst, count), self.bytes_at(src, count), count)

        stream.put(copy)
        return (Error.cudaSuccess,)

    def cudaStreamSynchronize(self, stream: Stream) -> tuple[Error]:
        self.calls.append("cudaStreamSynchronize")
        assert stream.recording is None
        queue, stream.queue = stream.queue, []
        for work in queue:
            work()
        return (Error.cudaSuccess,)

    def cudaStreamBeginCapture(self, stream: Stream, mode: int) -> tuple[Error]:
        self.calls.append("cudaStreamBeginCapture")
        stream.recording = []
        return (Error.cudaSuccess,)

    def cudaStreamEndCapture(self, stream: Stream) -> tuple[Error, Any]:
        recorded, stream.recording = stream.recording, None
        if not recorded:
            return Error.cudaErrorStreamCaptureInvalidated, None
        return Error.cudaSuccess, recorded

    def cudaGraphInstantiate(self, graph: Any, flags: int) -> tuple[Error, Any]:
        recording = list(graph)
        self.recordings.append(recording)
        return Error.cudaSuccess, recording

    def cudaGraphDestroy(self, graph: Any) -> tuple[Error]:
        graph.clear()
        return (Error.cudaSuccess,)

    def cudaGraphLaunch(self, graphExec: Any, stream: Stream) -> tuple[Error]:
        self.calls.append("cudaGraphLaunch")
        assert any(graphExec is known for known in self.recordings)
        for work in graphExec:
            stream.put(work)
        return (Error.cudaSuccess,)

    def cudaGraphExecDestroy(self, graphExec: Any) -> tuple[Error]:
        self.recordings = [known for known in self.recordings if known is not graphExec]
        return (Error.cudaSuccess,)

    def _allocate(self, size: int) -> tuple[Any, ...]:
        self.calls.append("cudaMalloc")
        if self.allocated_bytes + size > self.memory_bytes:
            return Error.cudaErrorMemoryAllocation, None
        raw = ctypes.create_string_buffer(size + ALIGNMENT_BYTES)
        address = -(-ctypes.addressof(raw) // ALIGNMENT_BYTES) * ALIGNMENT_BYTES
        ctypes.memset(address, _POISON, size)
        self._blocks[address] = raw, size
        return Error.cudaSuccess, address
