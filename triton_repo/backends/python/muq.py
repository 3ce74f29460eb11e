"""``muq`` with PyTorch or OpenVINO, for which the server has no backend that fits."""

import json
from pathlib import Path

import numpy as np
import triton_python_backend_utils as pb_utils

from muqrt.errors import MuqrtError
from muqrt.runtime.bundle.manifest import load_bundle
from muqrt.runtime.engines.open_session import open_session
from muqrt.triton_repo.backends.onnxruntime.model import TritonPythonModel


class EngineModel(TritonPythonModel):
    """One instance of a model that runs in one of muqrt's engines."""

    def initialize(self, args: dict[str, str]) -> None:
        """Open the artefact of the bundle in ``<model_repository>/<version>``."""
        parameters = self._configure(json.loads(args["model_config"]))
        folder = Path(args["model_repository"]) / args["model_version"]
        on_gpu = args["model_instance_kind"] == "GPU"
        device = f"cuda:{args['model_instance_device_id']}" if on_gpu else "cpu"
        try:
            bundle = load_bundle(folder)
            # Certificates were checked when the repository was written.
            artefact = bundle.artefact(allow_uncertified=True)
            threads = int(parameters.get("intra_op_thread_count", 0)) or None
            self._engine = open_session(bundle, artefact, threads, device)
        except MuqrtError as error:
            raise pb_utils.TritonModelException(str(error)) from None

    def finalize(self) -> None:
        """Free the model."""
        self._engine.close()

    def _run(self, names: list[str], feed: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        return self._engine.run(feed, names)
