"""One GPU, through NVIDIA's binding of the CUDA runtime; failures are raised as SessionError."""

from collections.abc import Callable
from typing import Any

from ....errors import MissingDependencyError, SessionError
from .memory import Memory

# cudaError_t: the driver is missing or too old; it is there, but no GPU.
_NO_DRIVER, _NO_GPU = 35, 100
_OUT_OF_MEMORY = 2

Stream = Any  # a cudaStream_t: CUDA takes it as it is, TensorRT as an int
Recording = Any  # a cudaGraphExec_t


class CudaDevice:
    """A GPU.

    Attributes:
        index: its number in CUDA, from 0.
        name: its name, as the driver reports it.
        compute_capability: such as 9.0.
        cuda: the newest CUDA that the driver knows, such as 13.0.

    Raises:
        MissingDependencyError: the binding is not installed. SessionError: no driver, no GPU, or
            none of this index.
    """

    def __init__(self, index: int = 0) -> None:
        self._cuda = cuda = cuda_runtime()
        self.index = index
        count = self._done(cuda.cudaGetDeviceCount())
        if not 0 <= index < count:
            raise SessionError(f"no GPU {index}: the driver finds {count}, numbered from 0.")
        self.use()
        properties = self._done(cuda.cudaGetDeviceProperties(index))
        driver = self._done(cuda.cudaDriverGetVersion())
        self.name = properties.name.decode()
        self.compute_capability = f"{properties.major}.{properties.minor}"
        self.cuda = f"{driver // 1000}.{driver % 1000 // 10}"

    def use(self) -> None:
        """Make it the current GPU of the calling thread."""
        self._done(self._cuda.cudaSetDevice(self.index))

    def memory(self) -> Memory:
        """A buffer in the GPU's memory, empty at first."""
        cuda = self._cuda
        return Memory(lambda size: self._done(cuda.cudaMalloc(size), size), self._free)

    def pinned_memory(self) -> Memory:
        """A buffer in pinned host memory, which the GPU can copy from and to; empty at first."""
        cuda = self._cuda
        return Memory(lambda size: self._done(cuda.cudaMallocHost(size), size), self._free_pinned)

    def stream(self) -> Stream:
        """A new stream that does not wait for the default stream."""
        flags = self._cuda.cudaStreamNonBlocking
        return self._done(self._cuda.cudaStreamCreateWithFlags(flags))

    def copy(self, source: int, destination: int, size_bytes: int, stream: Stream) -> None:
        """Queue a copy between two addresses in GPU memory or pinned host memory."""
        kind = self._cuda.cudaMemcpyKind.cudaMemcpyDefault
        self._done(self._cuda.cudaMemcpyAsync(destination, source, size_bytes, kind, stream))

    def wait(self, stream: Stream) -> None:
        """Wait until all work queued on the stream is done."""
        self._done(self._cuda.cudaStreamSynchronize(stream))

    def record(self, stream: Stream, enqueue: Callable[[], None]) -> Recording:
        """Record the work that ``enqueue`` queues, without running it, for ``launch``."""
        cuda = self._cuda
        # Of this thread: others may go on allocating.
        mode = cuda.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
        self._done(cuda.cudaStreamBeginCapture(stream, mode))
        try:
            enqueue()
        finally:
            # Ended after a failure too, or the stream could not be used again.
            status, graph = cuda.cudaStreamEndCapture(stream)
        self._done((status,))
        try:
            return self._done(cuda.cudaGraphInstantiate(graph, 0))
        finally:
            self._done(cuda.cudaGraphDestroy(graph))

    def launch(self, recording: Recording, stream: Stream) -> None:
        """Queue a recording."""
        self._done(self._cuda.cudaGraphLaunch(recording, stream))

    def forget(self, recording: Recording) -> None:
        """Free a recording."""
        self._done(self._cuda.cudaGraphExecDestroy(recording))

    def end(self, stream: Stream) -> None:
        """Free a stream."""
        self._done(self._cuda.cudaStreamDestroy(stream))

    def _free(self, address: int) -> None:
        self._done(self._cuda.cudaFree(address))

    def _free_pinned(self, address: int) -> None:
        self._done(self._cuda.cudaFreeHost(address))

    def _done(self, answer: tuple[Any, ...], size_bytes: int = 0) -> Any:
        """A call's result, if it has one.

        ``size_bytes`` is how much memory it asked for.
        """
        status, *results = answer
        if status == self._cuda.cudaError_t.cudaSuccess:
            return results[0] if results else None
        _, text = self._cuda.cudaGetErrorString(status)
        raise SessionError(f"CUDA: {text.decode()} ({status.name}). {_cure(status, size_bytes)}")


def cuda_runtime() -> Any:
    """The binding."""
    try:
        from cuda.bindings import runtime
    except (ImportError, OSError) as error:
        raise MissingDependencyError(
            f"running on a GPU needs cuda-bindings ({error}). Run: pip install 'muqrt[gpu]'"
        ) from None
    return runtime


def _cure(status: int, size_bytes: int) -> str:
    if status in (_NO_DRIVER, _NO_GPU):
        return (
            "This machine has no GPU that works, or an old driver: nvidia-smi says which. In a "
            "container, start it with --gpus all. Or choose another artefact."
        )
    if status == _OUT_OF_MEMORY:
        return (
            f"{size_bytes / 1e6:.0f} MB were asked for. Run smaller batches, end what else uses "
            "the GPU (nvidia-smi lists it), or build the engine for shorter windows."
        )
    return "Load the bundle again; if it comes back, the driver or the engine is at fault."
