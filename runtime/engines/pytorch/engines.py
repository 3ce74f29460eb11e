"""Run a deployed model: directly on a CPU, from captured graphs on a GPU.

Only PyTorch's session imports this, when it is used.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from threading import Lock
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ....errors import SessionError
from ...bundle.parts import ATTENTION_BIAS, FIRST, FRAMES, LAST
from ..cpus import given_cpus
from ..cuda.graph_cache import CudaGraphCache
from ..session import Arrays
from .model import DeployedMuQ

MOST_GRAPHS = 16  # each keeps its inputs and outputs, and shares the rest of its memory
_WARM_UPS = 3  # kernels are compiled, and cuDNN's algorithms chosen, before a graph is captured
_PYTORCHS_CHOICE = torch.get_num_threads()  # before a session has set another number


class CpuEngine:
    """Runs a model on the CPU, for any number of callers at once.

    Args:
        model: as ``load_model`` gives it.
        threads: of a run; when None as many as this process was given, or PyTorch's choice, the
            physical cores. PyTorch has one number for the whole process, which runs set.
    """

    def __init__(self, model: DeployedMuQ, threads: int | None) -> None:
        self._model: DeployedMuQ | None = model
        self._threads = threads or given_cpus() or _PYTORCHS_CHOICE

    def run(self, inputs: Mapping[str, np.ndarray], outputs: list[str]) -> Arrays:
        """Run the model on its only input, already checked."""
        model = _open(self._model)
        (array,) = inputs.values()
        if torch.get_num_threads() != self._threads:
            torch.set_num_threads(self._threads)
        with _session_errors(array.shape), torch.inference_mode():
            given = _tensor(array)
            found = model(given, outputs)
            # At level 0 the encoder's output is its input, which is the caller's.
            return {n: (x.clone() if x is given else x).numpy() for n, x in found.items()}

    def close(self) -> None:
        """Free the weights."""
        self._model = None


class LevelEngine:
    """Runs a model's layers from one hidden state to a deeper one, on whichever device it is.

    Args:
        model: as ``load_model`` gives it.
        device: where that is.
    """

    def __init__(self, model: DeployedMuQ, device: torch.device) -> None:
        self._model: DeployedMuQ | None = model
        self._device = device

    def run(self, inputs: Mapping[str, np.ndarray], outputs: list[str]) -> Arrays:
        """Run the layers on inputs that are already checked."""
        x, model = inputs[FRAMES], _open(self._model)
        levels = int(inputs[LAST.name]), int(inputs[FIRST.name])
        with (
            _session_errors(x.shape),
            torch.inference_mode(),
            torch.backends.cudnn.flags(enabled=True, benchmark=True, allow_tf32=False),
        ):
            given, bias = (
                _tensor(each).to(self._device) for each in (x, inputs[ATTENTION_BIAS.name])
            )
            # Without a mask PyTorch has faster attention.
            state = model.encoder(given, *levels, bias if bias.any() else None)[-1]
            return {name: state.cpu().numpy() for name in outputs}

    def close(self) -> None:
        """Free the weights."""
        self._model = None


class CudaEngine:
    """Runs a model on a GPU, one run at a time and in a stream of its own.

    A run is a few hundred short kernels, which take Python longer to launch than the GPU to run. So
    a shape that comes again is captured as a CUDA graph, and replayed from then on. Shapes are not
    padded to a few common ones: the steps of the padding would be attended to.

    Args:
        model: as ``load_model`` gives it, on the device.
        device: a CUDA device.
    """

    def __init__(self, model: DeployedMuQ, device: torch.device) -> None:
        self._model: DeployedMuQ | None = model
        self._device = device
        self._stream = torch.cuda.Stream(device)
        self._stream.wait_stream(torch.cuda.default_stream(device))  # where the weights were read
        # Graphs never run at the same time, and every answer is copied: they can share memory.
        self._pool = torch.cuda.graph_pool_handle()
        self._graphs = CudaGraphCache(MOST_GRAPHS, _Graph.free)
        self._in_use = Lock()

    def run(self, inputs: Mapping[str, np.ndarray], outputs: list[str]) -> Arrays:
        """Run the model on its only input, already checked; it may be on the device."""
        (array,) = inputs.values()
        with (
            self._in_use,
            _session_errors(array.shape),
            torch.inference_mode(),
            torch.cuda.device(self._device),
            torch.cuda.stream(self._stream),
            # TF32 has 10 bits of mantissa: an fp32 artefact's proof would not hold.
            torch.backends.cudnn.flags(enabled=True, benchmark=True, allow_tf32=False),
        ):
            model, given = _open(self._model), _tensor(array)
            key = (given.shape, tuple(outputs))
            graph = self._graphs.get(key)
            if graph is None and self._graphs.ran_before(key):
                graph = _Graph(model, given, outputs, self._stream, self._pool)
                self._graphs.put(key, graph)
            if graph is not None:
                return graph.run(given)
            found = model(given.to(self._device), outputs)
            return {name: tensor.cpu().numpy() for name, tensor in found.items()}

    def close(self) -> None:
        """Free the graphs and the weights."""
        with self._in_use:
            self._graphs.clear()
            self._model = None


class _Graph:
    """The kernels of a run for one shape, between buffers that stay where they are.

    Args:
        model: what runs.
        given: an input of the shape, on the host or on the device.
        outputs: what it computes.
        stream: where it runs.
        pool: memory that the model's values are in, of ``torch.cuda.graph_pool_handle``.
    """

    def __init__(
        self,
        model: DeployedMuQ,
        given: Tensor,
        outputs: Sequence[str],
        stream: torch.cuda.Stream,
        pool: Any,
    ) -> None:
        self._stream = stream
        self._given = torch.empty_like(given, device=stream.device)
        self._given.copy_(given)
        for _ in range(_WARM_UPS):
            model(self._given, outputs)
        self._graph = torch.cuda.CUDAGraph()
        # Other sessions' threads may use the GPU meanwhile.
        with torch.cuda.graph(self._graph, pool, stream, capture_error_mode="thread_local"):
            self._found = model(self._given, outputs)
        # Pinned, or the copies would wait for the GPU one by one.
        self._staged = _pinned(given)
        self._answers = {name: _pinned(tensor) for name, tensor in self._found.items()}

    def run(self, given: Tensor) -> Arrays:
        """The outputs for an input of this shape, on the host or on the device."""
        self._given.copy_(given if given.is_cuda else self._staged.copy_(given), non_blocking=True)
        self._graph.replay()
        for name, tensor in self._found.items():
            self._answers[name].copy_(tensor, non_blocking=True)
        self._stream.synchronize()
        return {name: answer.numpy().copy() for name, answer in self._answers.items()}

    def free(self) -> None:
        """Free its memory."""
        self._graph.reset()


def _pinned(like: Tensor) -> Tensor:
    return torch.empty_like(like, device="cpu", pin_memory=True)


def _tensor(array: np.ndarray) -> Tensor:
    """The same memory, of numpy or of any library whose arrays speak DLPack."""
    if not isinstance(array, np.ndarray):
        return torch.from_dlpack(array)
    # A copy only of what PyTorch cannot share.
    return torch.from_numpy(np.require(array, requirements=["C", "W"]))


def _open(model: DeployedMuQ | None) -> DeployedMuQ:
    if model is None:
        raise SessionError("the session is closed; load the bundle again.")
    return model


@contextmanager
def _session_errors(shape: tuple[int, ...]) -> Iterator[None]:
    """Raise PyTorch's errors as SessionErrors."""
    try:
        yield
    except RuntimeError as error:
        reason = str(error).splitlines()[0]
        if isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in reason:
            raise SessionError(
                f"out of memory for an input of shape {tuple(shape)} ({reason}). Run fewer "
                "windows at once, or shorter ones."
            ) from error
        raise SessionError(f"PyTorch failed: {reason}") from error
