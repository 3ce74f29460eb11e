"""Artefacts run by ONNX Runtime on the CPU."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnxruntime as ort

from ..errors import SessionError
from .bundle import Artefact, Bundle
from .session import Arrays, Session
from .tokens import TOKENS, TOKENS_FILE


class OnnxSession(Session):
    """An ONNX artefact on ONNX Runtime's CPU provider.

    Args:
        bundle: the bundle the artefact belongs to.
        artefact: which one; its hashes are verified before it is loaded.
        threads: intra-operator threads; ONNX Runtime's choice (the physical cores) when None.

    Raises:
        BundleError: the artefact's bytes changed. SessionError: ONNX Runtime refused the file.
    """

    def __init__(self, bundle: Bundle, artefact: Artefact, threads: int | None = None) -> None:
        super().__init__(
            artefact.inputs,
            artefact.outputs,
            bundle.framing,
            artefact.digest,
            bundle.tagging,
            bundle.tokenizer,
        )
        bundle.verify(artefact)
        self._options = ort.SessionOptions()
        self._options.log_severity_level = 3
        if threads is not None:
            self._options.intra_op_num_threads = threads
        self._engine: ort.InferenceSession | None = self._load(bundle.path(artefact.file))
        self._tokens_path = bundle.path(TOKENS_FILE) if TOKENS_FILE in artefact.files else None
        self._tokens_engine: ort.InferenceSession | None = None

    def _run(self, inputs: Mapping[str, np.ndarray], outputs: list[str]) -> Arrays:
        if self._engine is None:
            raise SessionError("the session is closed; load the bundle again.")
        contiguous = {name: np.ascontiguousarray(array) for name, array in inputs.items()}
        engine = self._engine_for(outputs)
        try:
            results = engine.run(outputs, contiguous)
        except Exception as error:
            raise SessionError(f"ONNX Runtime failed: {error}") from error
        return dict(zip(outputs, results, strict=True))

    def _engine_for(self, outputs: list[str]) -> ort.InferenceSession:
        """The whole graph's, or the tokens' own: an engine runs all of its graph, whichever
        outputs are asked for."""
        if outputs != [TOKENS] or self._tokens_path is None:
            return self._engine
        if self._tokens_engine is None:
            self._tokens_engine = self._load(self._tokens_path)
        return self._tokens_engine

    def _load(self, path: Path) -> ort.InferenceSession:
        try:
            return ort.InferenceSession(
                str(path), self._options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # onnxruntime's exceptions share no base of their own
            raise SessionError(f"{path}: ONNX Runtime cannot load it: {error}") from error

    def close(self) -> None:
        """Free the engine and its memory."""
        self._engine = self._tokens_engine = None
