"""What a client must know about a served artefact, and how it travels."""

from collections.abc import Mapping
from dataclasses import field
from typing import Any

from pydantic import (
    NonNegativeInt,
    SerializerFunctionWrapHandler,
    TypeAdapter,
    model_serializer,
    model_validator,
)
from pydantic.dataclasses import dataclass

from ...runtime.bundle.manifest import Framing
from ...runtime.bundle.meanings import (
    Explained,
    Meanings,
    check_outputs,
    from_texts,
    gather,
    spread,
    to_texts,
)
from ...runtime.bundle.record import TensorSpec
from ...runtime.engines.session import Description

_SPECS = TypeAdapter(list[TensorSpec])


@dataclass(frozen=True)
class Contract(Explained):
    """What a client must know about the served artefact; travels as ``muqrt.*`` parameters.

    Triton's own configuration has no names for dynamic dimensions, so the tensors travel whole.
    """

    framing: Framing
    level: NonNegativeInt
    precision: str
    artefact_sha256: str
    source: str
    inputs: list[TensorSpec]
    outputs: list[TensorSpec]
    meanings: Meanings = field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _gather(cls, given: Any) -> Any:
        return gather(given)

    @model_serializer(mode="wrap")
    def _spread(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return spread(dump(self))

    @model_validator(mode="after")
    def _outputs_are_explained(self) -> "Contract":
        check_outputs(self.outputs, self.meanings)
        return self

    @property
    def description(self) -> Description:
        """The description that a session of the artefact has."""
        return Description(
            self.inputs,
            self.outputs,
            self.framing,
            self.artefact_sha256,
            self.meanings,
        )

    def to_parameters(self) -> dict[str, str]:
        """The contract as parameters: strings by name."""
        return to_texts(self.meanings) | {
            "muqrt.framing": self.framing.model_dump_json(),
            "muqrt.level": str(self.level),
            "muqrt.precision": self.precision,
            "muqrt.artefact_sha256": self.artefact_sha256,
            "muqrt.source": self.source,
            "muqrt.inputs": _SPECS.dump_json(self.inputs).decode(),
            "muqrt.outputs": _SPECS.dump_json(self.outputs).decode(),
        }

    @classmethod
    def from_parameters(cls, parameters: Mapping[str, str]) -> "Contract":
        """Read the contract from a model's parameters.

        Raises:
            KeyError: a parameter is missing, so muqrt did not write the model.
            ValueError: a parameter is not what muqrt writes.
        """
        return cls(
            framing=Framing.model_validate_json(parameters["muqrt.framing"]),
            level=int(parameters["muqrt.level"]),
            precision=parameters["muqrt.precision"],
            artefact_sha256=parameters["muqrt.artefact_sha256"],
            source=parameters["muqrt.source"],
            inputs=_SPECS.validate_json(parameters["muqrt.inputs"]),
            outputs=_SPECS.validate_json(parameters["muqrt.outputs"]),
            meanings=from_texts(parameters),
        )
