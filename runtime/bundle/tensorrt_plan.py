"""The TensorRT version and the GPU that a plan was built for."""

from typing import Annotated

from pydantic import Field, model_validator

from ...errors import SessionError
from .engine_options import EngineOptions
from .record import Record, RelativeFile, Sha256

_AMPERE = (8, 0)


class TensorRTPlan(Record):
    """The TensorRT and the kind of GPU that a plan runs on.

    Attributes:
        tensorrt: the library's full version, such as 10.13.3.9.
        compute_capability: the GPU's, such as 9.0.
        gpu: the GPU's name, as its driver reports it.
        cuda: the newest CUDA that the driver knew, such as 13.0.
        source_sha256: hash of the ONNX graph.
        options: how it was built.
        weights: for a stripped plan, the ONNX graph with its weights, one of the artefact's
            files.
    """

    tensorrt: Annotated[str, Field(pattern=r"^\d+(\.\d+){1,3}$")]
    compute_capability: Annotated[str, Field(pattern=r"^\d+\.\d+$")]
    gpu: str
    cuda: Annotated[str, Field(pattern=r"^\d+\.\d+$")] | None = None
    source_sha256: Sha256 | None = None
    options: EngineOptions | None = None
    weights: RelativeFile | None = None

    @model_validator(mode="after")
    def _weights_are_somewhere(self) -> "TensorRTPlan":
        if (self.options is not None and self.options.stripped) != (self.weights is not None):
            raise ValueError("a stripped plan names the file of its weights, and no other does")
        return self

    @property
    def version_compatible(self) -> bool:
        """Whether later TensorRTs run it as well."""
        return self.options is not None and self.options.version_compatible

    def require(self, tensorrt: str, compute_capability: str) -> None:
        """Raise SessionError unless it runs on this TensorRT and this kind of GPU.

        TensorRT itself would refuse the plan with a message about bytes, or run it badly.
        """
        if not self.runs_with(tensorrt):
            or_later = " or later" if self.version_compatible else ""
            raise SessionError(
                f"the plan is for TensorRT {self.tensorrt}{or_later} and here is {tensorrt}. "
                f"Install that one (pip install tensorrt=={self.tensorrt}), or build the plan "
                "again with the one that is here."
            )
        if not self.runs_on(compute_capability):
            raise SessionError(
                f"the plan is for {self.gpu} (compute capability {self.compute_capability}) and "
                f"this GPU has {compute_capability}. Build the plan again on this GPU."
            )

    def runs_with(self, tensorrt: str) -> bool:
        """Whether this TensorRT, or its version's beginning, runs it."""
        ours, theirs = _numbers(self.tensorrt), _numbers(tensorrt)
        return theirs >= ours if self.version_compatible else theirs == ours

    def runs_on(self, compute_capability: str) -> bool:
        """Whether GPUs of this compute capability run it."""
        if self.options is not None and self.options.hardware_compatibility == "ampere_plus":
            return _numbers(compute_capability) >= _AMPERE
        return compute_capability == self.compute_capability


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))
