"""Artefacts run by ONNX Runtime on the CPU."""

from collections.abc import Mapping

import numpy as np
import onnxruntime as ort

from ..errors import SessionError
from .bundle import Artefact, Bundle
from .session import Arrays, Session


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
            artefact.inputs, artefact.outputs, bundle.framing, artefact.digest, bundle.tagging
        )
        bundle.verify(artefact)
        options = ort.SessionOptions()
        options.log_severity_level = 3
        if threads is not None:
            options.intra_op_num_threads = threads
        path = bundle.path(artefact.file)
        try:
            self._session: ort.InferenceSession | None = ort.InferenceSession(
                str(path), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # onnxruntime's exceptions share no base of their own
            raise SessionError(f"{path}: ONNX Runtime cannot load it: {error}") from error

    def _run(self, inputs: Mapping[str, np.ndarray], outputs: list[str]) -> Arrays:
        if self._session is None:
            raise SessionError("the session is closed; load the bundle again.")
        contiguous = {name: np.ascontiguousarray(array) for name, array in inputs.items()}
        try:
            results = self._session.run(outputs, contiguous)
        except Exception as error:
            raise SessionError(f"ONNX Runtime failed: {error}") from error
        return dict(zip(outputs, results, strict=True))

    def close(self) -> None:
        """Free the engine and its memory."""
        self._session = None
