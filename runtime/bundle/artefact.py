"""An artefact of a bundle: one runnable model, with its hashes and its certificate."""

import hashlib
import json
from typing import Annotated, Literal

from pydantic import Field, PrivateAttr, model_validator

from .certificate import Certificate, Precision
from .engine_options import CoreMlPlan, PhonePlan, Shaped
from .precision.mixed_precision import MixedPrecision
from .precision.quantization import Quantization
from .record import Record, RelativeFile, Sha256, TensorSpec
from .tensorrt_plan import RtxPlan, TensorRTPlan

# What is known of the files of engines that take some shapes only.
_PLANS = {
    "tensorrt": TensorRTPlan,
    "tensorrt-rtx": RtxPlan,
    "executorch": PhonePlan,
    "litert": PhonePlan,
    "coreml": CoreMlPlan,
}
# Which half of a MuQ-MuLan; none is the MuQ, which both kinds of model have.
Tower = Literal["text"]


class Artefact(Record):
    """One runnable file (and its external data), for one engine at one precision.

    ``tower`` is "text" for a MuQ-MuLan's text tower, and None for an audio model.
    """

    name: str
    tower: Tower | None = None
    engine: Literal[
        "onnxruntime",
        "openvino",
        "tensorrt",
        "tensorrt-rtx",
        "torch",
        "executorch",
        "litert",
        "coreml",
    ]
    precision: Precision
    target: str
    file: RelativeFile
    files: dict[RelativeFile, Sha256]
    level: Annotated[int, Field(ge=0)]
    inputs: list[TensorSpec]
    outputs: list[TensorSpec]
    quantization: Quantization | None = None
    mixed_precision: MixedPrecision | None = None
    plan: TensorRTPlan | RtxPlan | CoreMlPlan | PhonePlan | None = None
    certificate: Certificate | None = None
    # What the bundle says of all its artefacts; theirs is the certificate, too.
    _shared_facts: str = PrivateAttr(default="")

    @model_validator(mode="after")
    def _the_file_is_hashed(self) -> "Artefact":
        if self.file not in self.files:
            raise ValueError(f"{self.file} has no SHA-256 in files")
        return self

    @model_validator(mode="after")
    def _a_plan_is_described(self) -> "Artefact":
        kind = _PLANS.get(self.engine, type(None))
        if not isinstance(self.plan, kind):
            raise ValueError(f"{self.name}: its plan is not one for {self.engine}")
        weights = self.plan.weights if isinstance(self.plan, TensorRTPlan) else None
        if weights not in (None, *self.files):
            raise ValueError(f"{weights}, with a plan's weights, has no SHA-256 in files")
        return self

    @property
    def shapes(self) -> Shaped | None:
        """The shapes that an engine takes; None where it takes all."""
        return self.plan.options if self.plan is not None else None

    @property
    def digest(self) -> str:
        """One hash over the files and everything the manifest says of them: the certificate's."""
        described = self.model_dump(exclude={"certificate"}, exclude_none=True)
        facts = json.dumps(described, sort_keys=True)
        return hashlib.sha256(f"{facts}{self._shared_facts}".encode()).hexdigest()

    @property
    def certified(self) -> bool:
        """Whether a passing certificate for exactly these files and outputs is present."""
        return (
            self.certificate is not None
            and self.certificate.passed
            and {spec.name for spec in self.outputs}
            <= {each.output for each in self.certificate.measurements}
            and self.certificate.precision == self.precision
            and self.certificate.artefact_sha256 == self.digest
        )
