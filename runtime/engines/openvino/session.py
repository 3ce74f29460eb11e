"""Artefacts run by OpenVINO on the CPU."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np

from ....errors import MissingDependencyError, SessionError
from ...bundle.manifest import Artefact, Bundle
from ...bundle.parts import FRAMES
from ..cpus import given_cpus
from ..session import Arrays, Description, Session

if TYPE_CHECKING:
    import openvino

LOG_MEL_FILE = "openvino-log-mel.onnx"
TOKENS_FILE = "openvino-tokens.onnx"
FRONT_END_FILE = "openvino-front-end.onnx"
POSITIONS_FILE = "openvino-positions.onnx"
ENCODER_FILE = "openvino-encoder.onnx"
# In the order in which they run: an artefact's graphs, the inputs of each being the session's or
# outputs of those before it.
_GRAPH_FILES = (LOG_MEL_FILE, TOKENS_FILE, FRONT_END_FILE, POSITIONS_FILE, ENCODER_FILE)
# These stay fp32 in a bf16 artefact: with 8 bits of mantissa, quiet bands would drown in loud ones,
# positions beyond 256 would be rounded, and other codes would be the nearest.
_ALWAYS_FP32 = (LOG_MEL_FILE, TOKENS_FILE, POSITIONS_FILE)
_PRECISIONS = {"fp32": "f32", "bf16": "bf16"}  # OpenVINO's names


class OpenVinoSession(Session):
    """An artefact for OpenVINO, on its CPU device.

    Each graph is compiled when it is first needed: tokens of the log-mel need no encoder. The parts
    are the whole's own graphs.

    Args:
        bundle: the bundle the artefact belongs to.
        artefact: which one; its hashes are verified before it is loaded.
        threads: of the engine; when None as many as this process was given, or OpenVINO's choice,
            the physical cores.

    Raises:
        BundleError: the artefact's bytes changed. SessionError: OpenVINO refused a file, or this
            processor lacks the artefact's precision. MissingDependencyError: OpenVINO is not
            installed.
    """

    def __init__(self, bundle: Bundle, artefact: Artefact, threads: int | None = None) -> None:
        super().__init__(Description.of(bundle, artefact))
        core = _core()
        _require_precision(core, artefact)
        bundle.verify(artefact)
        graphs = []
        for file in _GRAPH_FILES:
            if file in artefact.files:
                precision = "fp32" if file in _ALWAYS_FP32 else artefact.precision
                graphs.append(_Graph(core, bundle.path(file), precision, threads))
        self._chain = _Chain(graphs)
        self.parts = self._split(self._chain, self._chain)

    def _run(self, inputs: Mapping[str, np.ndarray], outputs: list[str]) -> Arrays:
        return self._chain.run(inputs, outputs)

    def close(self) -> None:
        """Free the engine and its memory."""
        self._chain.close()


class _Chain:
    """Graphs in the order in which they run; every one takes values of those before it."""

    def __init__(self, graphs: "Sequence[_Graph]") -> None:
        self._graphs = graphs

    def run(self, inputs: Mapping[str, np.ndarray], outputs: Sequence[str]) -> Arrays:
        if not self._graphs:
            raise SessionError("the session is closed; load the bundle again.")
        values = dict(inputs)
        for graph in self._between(inputs, outputs):
            values |= graph.run(values)
        return {name: values[name] for name in outputs}

    def _between(self, inputs: Iterable[str], outputs: Iterable[str]) -> "list[_Graph]":
        """The graphs on the way from these inputs to these outputs, in order."""
        given, wanted, chosen = set(inputs), set(outputs), []
        for graph in reversed(self._graphs):
            if (wanted - given) & graph.outputs:
                wanted |= graph.inputs
                chosen.append(graph)
        return chosen[::-1]

    def close(self) -> None:
        self._graphs = []


class _Graph:
    """A graph in a file, compiled when it is first run."""

    def __init__(
        self, core: "openvino.Core", path: Path, precision: str, threads: int | None
    ) -> None:
        self._core, self._path = core, path
        # One request at a time gets all threads.
        self._options: dict[str, Any] = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": _PRECISIONS[precision],
        }
        if (threads := threads or given_cpus()) is not None:
            self._options["INFERENCE_NUM_THREADS"] = threads
        self._model = self._read()
        self.inputs = {each.any_name for each in self._model.inputs}
        self.outputs = {name for each in self._model.outputs for name in each.names}
        self._request: openvino.InferRequest | None = None
        self._in_use = Lock()  # a request holds one run's tensors

    def run(self, values: Mapping[str, np.ndarray]) -> Arrays:
        given = {name: np.ascontiguousarray(values[name]) for name in self.inputs}
        with self._in_use:
            if FRAMES in given and given[FRAMES].shape[1] == 1:
                # Compiled for it alone: once an encoder has begun with a single step, OpenVINO
                # 2025.3 to 2026.4 give wrong attention for other lengths.
                request = self._compiled().create_infer_request()
            else:
                request = self._request = self._request or self._compiled().create_infer_request()
            try:
                results = request.infer(given, share_inputs=True)
            except RuntimeError as error:
                raise SessionError(f"OpenVINO failed: {error}") from error
            return {name: results[name] for name in self.outputs}

    def _read(self) -> "openvino.Model":
        try:
            return self._core.read_model(self._path)
        except RuntimeError as error:
            raise SessionError(f"{self._path}: OpenVINO cannot read it: {error}") from error

    def _compiled(self) -> "openvino.CompiledModel":
        try:
            return self._core.compile_model(self._model, "CPU", self._options)
        except RuntimeError as error:
            raise SessionError(f"{self._path}: OpenVINO cannot compile it: {error}") from error


def _core() -> "openvino.Core":
    try:
        import openvino
    except ImportError:
        raise MissingDependencyError(
            "this artefact runs on OpenVINO, which is not installed. Run: "
            "pip install 'muqrt[openvino]', or choose an artefact for ONNX Runtime."
        ) from None
    return openvino.Core()


def _require_precision(core: "openvino.Core", artefact: Artefact) -> None:
    """Raise SessionError unless the processor itself computes in the artefact's precision.

    Asked for another one, OpenVINO would compute in fp32 and say nothing.
    """
    known = core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    if artefact.precision not in _PRECISIONS or artefact.precision.upper() not in known:
        raise SessionError(
            f"{artefact.name}: this processor has no {artefact.precision} arithmetic that OpenVINO "
            f"uses (it has: {', '.join(known)}). Choose another artefact, such as the fp32 one."
        )
