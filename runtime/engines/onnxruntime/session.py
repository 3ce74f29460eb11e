"""Artefacts run by ONNX Runtime, on the CPU or a GPU."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import onnxruntime as ort

from ....errors import SessionError
from ...bundle.joint import IDS, LATENTS, MASK
from ...bundle.manifest import Artefact, Bundle
from ...bundle.parts import (
    STATES,
    encoder_file,
    front_end_file,
    graph_files,
    levels_file,
    text_encoder_file,
    text_transformer_file,
)
from ..cpus import given_cpus, physical_cores
from ..cuda.memory import DeviceArray, reachable
from ..device_name import DeviceName, parse_device
from ..session import WAVEFORM, Arrays, Description, Part, Session, TextParts
from .binding import BoundRuns
from .providers import PROVIDERS, Provider, providers_on
from .rtx_plugin import DEVICE as RTX
from .rtx_plugin import add_rtx_provider

# DLPack's number for CUDA's legacy default stream. A run first waits for all earlier work.
_DEFAULT_STREAM = 1


class OnnxSession(Session):
    """An ONNX artefact on ONNX Runtime.

    Each of its graphs is loaded when it is first run: a caller that needs the parts alone does not
    pay for the whole. On a GPU a waveform may also be any array there that speaks DLPack
    (PyTorch's, CuPy's): then it is read where it is.

    Args:
        bundle: the bundle the artefact belongs to.
        artefact: which one; its hashes are verified here.
        threads: intra-operator threads; when None as many as this process was given, or ONNX
            Runtime's choice, the physical cores.
        device: "cpu", "cuda", "tensorrt" or "tensorrt-rtx", such as "cuda:1" for the second GPU.
        cuda_graphs: on "cuda" and "tensorrt-rtx", whether the runs of each shape are recorded and
            launched as one, which spares the CPU some thousand launches. ONNX Runtime does so only
            with graphs whose every computation is on the GPU.
        spinning: whether threads wait for each other awake: sooner back at work, and a waste of
            time where anything else wants the cores.
        runs_at_once: how many runs share the threads, each with as many of its own; fewer, down to
            one, where some of the threads would be left over.

    Raises:
        BundleError: the artefact's bytes changed. MissingDependencyError: this ONNX Runtime has no
            GPUs. SessionError: no such device, or no CUDA graphs there; or, when run, ONNX Runtime
            refused a file.
    """

    def __init__(
        self,
        bundle: Bundle,
        artefact: Artefact,
        threads: int | None = None,
        device: str = "cpu",
        cuda_graphs: bool = False,
        spinning: bool = True,
        runs_at_once: int = 1,
    ) -> None:
        super().__init__(Description.of(bundle, artefact))
        chosen = parse_device(device, *PROVIDERS, RTX)
        # The plugin for RTX copies inputs and outputs itself.
        on_host = chosen.kind in ("cpu", RTX)
        self._gpu = None if on_host else DeviceName("cuda", chosen.index)
        options = ort.SessionOptions()
        options.log_severity_level = 3
        # A session's threads would go on spinning after its run and take the cores from the next
        # session to run: the encoder took 1.3 times as long after the front end.
        options.add_session_config_entry("session.force_spinning_stop", "1")
        options.add_session_config_entry("session.intra_op.allow_spinning", str(int(spinning)))
        if artefact.precision == "fp8":
            # It would move the roundings to 8 bits before operators that have no such type.
            options.add_session_config_entry("session.disable_quant_qdq", "1")
        options.intra_op_num_threads = threads or given_cpus() or 0  # 0 is ONNX Runtime's choice
        if runs_at_once > 1:
            every = options.intra_op_num_threads or physical_cores()
            self.runs_at_once = next(n for n in range(runs_at_once, 0, -1) if every % n == 0)
            options.intra_op_num_threads = every // self.runs_at_once

        providers: list[Provider] = []
        if chosen.kind == RTX:
            first = add_rtx_provider(options, chosen, artefact.digest, cuda_graphs)
        else:
            providers = providers_on(device, artefact.digest, cuda_graphs)
            first = providers[0][0]
        bundle.verify(artefact)

        def graph(file: str) -> _Graph:
            return _Graph(bundle.path(file), options, providers, first, self._gpu, cuda_graphs)

        files = graph_files(artefact.file, artefact.files, self.outputs)
        self._graphs = [(gives, graph(file)) for gives, file in files]
        parts = front_end_file(artefact.file), encoder_file(artefact.file)
        if artefact.tower is None and artefact.files.keys() >= set(parts):
            self.parts = self._split(*map(graph, parts))
        if levels_file(artefact.file) in artefact.files:
            self.levels = self._by_levels(graph(levels_file(artefact.file)), artefact.level)
        texts = text_encoder_file(artefact.file), text_transformer_file(artefact.file)
        if artefact.tower == "text" and artefact.files.keys() >= set(texts):
            encoder, transformer = map(graph, texts)
            self.text_parts = TextParts(
                Part(encoder, [IDS, MASK], [STATES], bundle.framing),
                Part(transformer, [STATES, MASK], [self.outputs[LATENTS]], bundle.framing),
            )

    def run(self, inputs: Mapping[str, Any], outputs: Sequence[str] | None = None) -> Arrays:
        """Run the engine on checked inputs; on a GPU the waveform may also be in its memory."""
        if self._gpu is not None and WAVEFORM in inputs:
            inputs = reachable(inputs, self._gpu.index, _DEFAULT_STREAM)
        return super().run(inputs, outputs)

    def _run(self, inputs: Mapping[str, Any], outputs: list[str]) -> Arrays:
        smallest = next(graph for gives, graph in self._graphs if gives.issuperset(outputs))
        return smallest.run(inputs, outputs)

    def close(self) -> None:
        """Free the engines and their memory."""
        for _, graph in self._graphs:
            graph.close()
        for part in [*(self.parts or ()), *(self.text_parts or ())]:
            part.close()
        if self.levels is not None:
            self.levels.part.close()


class _Graph:
    """A graph in a file, loaded when it is first run.

    Without ``providers`` they are in the options; ``first`` is the one that has to start.
    """

    def __init__(
        self,
        path: Path,
        options: ort.SessionOptions,
        providers: Sequence[Provider],
        first: str,
        gpu: DeviceName | None,
        cuda_graphs: bool,
    ) -> None:
        self._path, self._options = path, options
        self._providers, self._first = providers, first
        self._gpu, self._cuda_graphs = gpu, cuda_graphs
        self._engine: ort.InferenceSession | BoundRuns | None = None
        self._closed = False
        self._loading = Lock()

    def run(self, inputs: Mapping[str, Any], outputs: list[str]) -> Arrays:
        contiguous = {
            name: array if isinstance(array, DeviceArray) else np.ascontiguousarray(array)
            for name, array in inputs.items()
        }
        engine = self._loaded()
        try:
            results = engine.run(outputs, contiguous)
        except Exception as error:
            raise SessionError(f"ONNX Runtime failed: {error}") from error
        return dict(zip(outputs, results, strict=True))

    def close(self) -> None:
        self._engine, self._closed = None, True

    def _loaded(self) -> ort.InferenceSession | BoundRuns:
        with self._loading:
            if self._closed:
                raise SessionError("the session is closed; load the bundle again.")
            if self._engine is None:
                self._engine = self._load()
            return self._engine

    def _load(self) -> ort.InferenceSession | BoundRuns:
        try:
            chosen = self._providers or None
            engine = ort.InferenceSession(str(self._path), self._options, providers=chosen)
        except Exception as error:  # onnxruntime's exceptions share no base of their own
            cure = " Open it without CUDA graphs." if self._cuda_graphs else ""
            raise SessionError(
                f"{self._path}: ONNX Runtime cannot load it: {error}{cure}"
            ) from error
        wanted, found = self._first, engine.get_providers()
        if found[0] != wanted:  # it would run on the CPU, and say so in a log
            raise SessionError(
                f"ONNX Runtime could not start {wanted} and has {', '.join(found)} instead: it "
                "needs a GPU, its driver, and the CUDA, cuDNN or TensorRT that it was built for."
            )
        return engine if self._gpu is None else BoundRuns(engine, self._gpu, self._cuda_graphs)
