"""The version of the library and the GPUs that a plan was built for."""

from typing import Annotated

from pydantic import Field, model_validator

from ...errors import SessionError
from .engine_options import RTX_TARGETS, EngineOptions, RtxOptions
from .precision.mixed_precision import Emulation
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

    def summary(self) -> str:
        """What it is for, for people."""
        return f"For {self.gpu}: {self.options}."

    def runs_with(self, tensorrt: str) -> bool:
        """Whether this TensorRT, or its version's beginning, runs it."""
        ours, theirs = _numbers(self.tensorrt), _numbers(tensorrt)
        return theirs >= ours if self.version_compatible else theirs == ours

    def runs_on(self, compute_capability: str) -> bool:
        """Whether GPUs of this compute capability run it."""
        if self.options is not None and self.options.hardware_compatibility == "ampere_plus":
            return _numbers(compute_capability) >= _AMPERE
        return compute_capability == self.compute_capability


class RtxPlan(Record):
    """The TensorRT for RTX and the kinds of GPU that an engine runs on.

    It is compiled on any machine, and finished on its GPU when it is loaded there.

    Attributes:
        tensorrt_rtx: the library's full version, such as 1.7.1.116.
        options: how it was built.
        source: the name of the ONNX artefact that it was compiled from.
        source_sha256: that artefact's hash.
        source_worst: the worst figures of the source's own certificate or, for one in 16 bits, of
            the emulation of every rounding: what is known of an engine that was not run.
        source_emulated: whether they are the emulation's.
    """

    tensorrt_rtx: Annotated[str, Field(pattern=r"^\d+(\.\d+){1,3}$")]
    options: RtxOptions
    source: str
    source_sha256: Sha256
    source_worst: Emulation | None = None
    source_emulated: bool = False

    def require_version(self, version: str) -> None:
        """Raise SessionError unless it is for this version of the library."""
        if version != self.tensorrt_rtx:
            wheels = ("tensorrt-rtx-cu13-bindings", "tensorrt-rtx-cu13-libs")
            pinned = " ".join(f"{wheel}=={self.tensorrt_rtx}" for wheel in wheels)
            raise SessionError(
                f"the engine is for TensorRT for RTX {self.tensorrt_rtx} and here is {version}. "
                f"Run: pip install {pinned}, or build the engine again with the one that is here."
            )

    def require_gpu(self, gpu: str, compute_capability: str) -> None:
        """Raise SessionError unless it was compiled for this kind of GPU."""
        if not self.runs_on(compute_capability):
            target = _target(compute_capability)
            raise SessionError(
                f"the engine is for {', '.join(self.options.targets)} and {gpu} is {target}. "
                + (
                    f"Build it again with --targets {target}."
                    if target in RTX_TARGETS
                    else "TensorRT for RTX has no such target: use --engine tensorrt on this GPU."
                )
            )

    def runs_on(self, compute_capability: str) -> bool:
        """Whether GPUs of this compute capability run it."""
        return _target(compute_capability) in self.options.targets

    def summary(self) -> str:
        """What is known of it, for people."""
        text = f"Compiled by TensorRT for RTX {self.tensorrt_rtx}: {self.options}."
        if self.source_worst is None:
            return text
        how = ", every rounding emulated" if self.source_emulated else ""
        return (
            f"{text} Its source {self.source}{how}: worst frame cosine "
            f"{self.source_worst.worst_frame_cosine:.7f}, relative L2 "
            f"{self.source_worst.relative_l2:.2e}."
        )


def _target(compute_capability: str) -> str:
    """TensorRT for RTX's name of a kind of GPU: sm89 of 8.9."""
    return f"sm{compute_capability.replace('.', '')}"


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))
