"""Artefacts run by ONNX Runtime, on the CPU or a GPU."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from threading import Lock

import numpy as np
import onnxruntime as ort

from ..errors import SessionError
from .bundle import Artefact, Bundle
from .cpus import given_cpus
from .onnx_providers import Provider, providers_on
from .parts import encoder_file, front_end_file, graph_files
from .session import Arrays, Description, Session


class OnnxSession(Session):
    """An ONNX artefact on ONNX Runtime.

    Each of its graphs is loaded when it is first run: whoever needs the parts alone does not pay
    for the whole.

    Args:
        bundle: the bundle the artefact belongs to.
        artefact: which one; its hashes are verified here.
        threads: intra-operator threads; when None as many as this process was given, or ONNX
            Runtime's choice, the physical cores.
        device: "cpu", "cuda" or "tensorrt", as "cuda:1" for the second GPU.

    Raises:
        BundleError: the artefact's bytes changed. MissingDependencyError: this ONNX Runtime has no
            GPUs. SessionError: no such device; or, when run, ONNX Runtime refused a file.
    """

    def __init__(
        self,
        bundle: Bundle,
        artefact: Artefact,
        threads: int | None = None,
        device: str = "cpu",
    ) -> None:
        super().__init__(Description.of(bundle, artefact))
        providers = providers_on(device, artefact.digest)
        bundle.verify(artefact)
        options = ort.SessionOptions()
        options.log_severity_level = 3
        # A session's threads would go on spinning after its run and take the cores from the next
        # session to run: the encoder took 1.3 times as long after the front end.
        options.add_session_config_entry("session.force_spinning_stop", "1")
        options.intra_op_num_threads = threads or given_cpus() or 0  # 0 is ONNX Runtime's choice

        def graph(file: str) -> _Graph:
            return _Graph(bundle.path(file), options, providers)

        files = graph_files(artefact.file, artefact.files, self.outputs)
        self._graphs = [(gives, graph(file)) for gives, file in files]
        parts = front_end_file(artefact.file), encoder_file(artefact.file)
        if artefact.files.keys() >= set(parts):
            self.parts = self._split(*map(graph, parts))

    def _run(self, inputs: Mapping[str, np.ndarray], outputs: list[str]) -> Arrays:
        smallest = next(graph for gives, graph in self._graphs if gives.issuperset(outputs))
        return smallest.run(inputs, outputs)

    def close(self) -> None:
        """Free the engines and their memory."""
        for _, graph in self._graphs:
            graph.close()
        for part in self.parts or ():
            part.close()


class _Graph:
    """A file with a graph, loaded when it is first run, by whichever thread comes first."""

    def __init__(
        self, path: Path, options: ort.SessionOptions, providers: Sequence[Provider]
    ) -> None:
        self._path, self._options, self._providers = path, options, providers
        self._engine: ort.InferenceSession | None = None
        self._closed = False
        self._loading = Lock()

    def run(self, inputs: Mapping[str, np.ndarray], outputs: list[str]) -> Arrays:
        contiguous = {name: np.ascontiguousarray(array) for name, array in inputs.items()}
        engine = self._loaded()
        try:
            results = engine.run(outputs, contiguous)
        except Exception as error:
            raise SessionError(f"ONNX Runtime failed: {error}") from error
        return dict(zip(outputs, results, strict=True))

    def close(self) -> None:
        self._engine, self._closed = None, True

    def _loaded(self) -> ort.InferenceSession:
        with self._loading:
            if self._closed:
                raise SessionError("the session is closed; load the bundle again.")
            if self._engine is None:
                self._engine = self._load()
            return self._engine

    def _load(self) -> ort.InferenceSession:
        try:
            engine = ort.InferenceSession(str(self._path), self._options, providers=self._providers)
        except Exception as error:  # onnxruntime's exceptions share no base of their own
            raise SessionError(f"{self._path}: ONNX Runtime cannot load it: {error}") from error
        wanted, found = self._providers[0][0], engine.get_providers()
        if found[0] != wanted:  # it would run on the CPU, and say so in a log
            raise SessionError(
                f"ONNX Runtime could not start {wanted} and has {', '.join(found)} instead: it "
                "needs a GPU, its driver, and the CUDA, cuDNN or TensorRT that it was built for."
            )
        return engine
