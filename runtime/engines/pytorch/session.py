"""Artefacts run by PyTorch, on the CPU or on a CUDA device."""

from collections.abc import Mapping
from importlib.util import find_spec
from typing import TYPE_CHECKING

import numpy as np

from ....errors import MissingDependencyError, SessionError
from ...bundle.manifest import Artefact, Bundle
from ..device_name import parse_device
from ..session import Arrays, Description, Session

if TYPE_CHECKING:
    import torch


class TorchSession(Session):
    """An artefact for PyTorch. The parts are the whole's own modules.

    On a GPU an input may also be any array there that speaks DLPack (CuPy's, say): then it is read
    where it is.

    Args:
        bundle: the bundle the artefact belongs to.
        artefact: which one; its hashes are verified before it is loaded.
        threads: on the CPU; when None as many as this process was given, or PyTorch's choice, the
            physical cores.
        device: "cpu", "cuda" or "cuda:1"; the first CUDA device when None, or else the CPU.
        compile: whether ``torch.compile`` compiles the encoder when it is first run, and for other
            lengths, which takes the better part of a minute each time. It is not certified.

    Raises:
        BundleError: the artefact's bytes changed. SessionError: there is no such device, it lacks
            the artefact's precision, or the file cannot be loaded. MissingDependencyError: PyTorch
            is not installed.
    """

    def __init__(
        self,
        bundle: Bundle,
        artefact: Artefact,
        threads: int | None = None,
        device: str | None = None,
        compile: bool = False,
    ) -> None:
        super().__init__(Description.of(bundle, artefact))
        _require_torch()
        from .engines import CpuEngine, CudaEngine, LevelEngine
        from .model import load_model

        chosen = _device(device)
        _require_precision(artefact, chosen)
        bundle.verify(artefact)
        model = load_model(bundle.path(artefact.file), artefact.precision, chosen)
        if compile:
            model.encoder.compile()
        on_gpu = chosen.type == "cuda"
        self._engine = CudaEngine(model, chosen) if on_gpu else CpuEngine(model, threads)
        self.parts = self._split(self._engine, self._engine)
        if bundle.has_levels:
            self.levels = self._by_levels(LevelEngine(model, chosen), artefact.level)

    def _run(self, inputs: Mapping[str, np.ndarray], outputs: list[str]) -> Arrays:
        return self._engine.run(inputs, outputs)

    def close(self) -> None:
        """Free the model and its memory."""
        self._engine.close()
        if self.levels is not None:
            self.levels.part.close()


def _require_torch() -> None:
    try:
        import safetensors  # noqa: F401
        import torch  # noqa: F401
    except ImportError as error:
        raise MissingDependencyError(
            f"this artefact runs on PyTorch, and {error.name} is not installed. Run: "
            "pip install 'muqrt[torch]', or choose an artefact for ONNX Runtime."
        ) from None


def _device(name: str | None) -> "torch.device":
    """The device with that name, or the best one available."""
    import torch

    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    chosen = parse_device(name or ("cuda" if count else "cpu"), "cpu", "cuda")
    if chosen.kind == "cpu":
        return torch.device("cpu")
    if chosen.index >= count:
        raise SessionError(
            f"device {name!r}: PyTorch {torch.__version__} finds {count} CUDA devices. Give "
            "another, or cpu; a GPU needs its driver and a PyTorch built for CUDA."
        )
    return torch.device("cuda", chosen.index)


def _require_precision(artefact: Artefact, device: "torch.device") -> None:
    """Raise SessionError unless the device itself computes in the artefact's precision.

    PyTorch would emulate it, several times slower than fp32.
    """
    import torch

    known = ["fp32"]
    if device.type == "cuda":
        known += ["fp16"]
        if torch.cuda.get_device_capability(device) >= (8, 0):
            known += ["bf16"]
        if find_spec("triton") is None:
            raise MissingDependencyError(
                "the fused kernels need Triton, which is not installed. Run: "
                "pip install 'muqrt[gpu]', or choose the device cpu."
            )
    elif torch.cpu._is_avx512_bf16_supported():  # every processor with AMX has it, too
        known += ["bf16"]
    if artefact.precision not in known:
        raise SessionError(
            f"{artefact.name}: {artefact.precision} is not for this device, {device}, on which "
            f"PyTorch is fast in {' and '.join(known)}. Choose another artefact, such as the fp32 "
            "one."
        )
