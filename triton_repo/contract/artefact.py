"""What a client must know of a served artefact, and how the server tells it."""

from collections.abc import Mapping
from typing import Any

from pydantic import NonNegativeInt, TypeAdapter, model_validator
from pydantic.dataclasses import dataclass

from ...runtime.bundle.joint import Joint, check_latents
from ...runtime.bundle.manifest import Framing, TensorSpec, check_tags
from ...runtime.bundle.tagging import Tagging
from ...runtime.bundle.tokens import Tokenizer, check_tokens
from ...runtime.engines.session import Description

_SPECS = TypeAdapter(list[TensorSpec])
# What outputs mean, where there are such.
_MEANINGS: dict[str, Any] = {"tagging": Tagging, "tokenizer": Tokenizer, "joint": Joint}


@dataclass(frozen=True)
class Contract:
    """What a client must know of the served artefact; travels as ``muqrt.*`` parameters.

    Triton's own configuration has no names for dynamic dimensions, so the tensors travel whole.
    """

    framing: Framing
    level: NonNegativeInt
    precision: str
    artefact_sha256: str
    source: str
    inputs: list[TensorSpec]
    outputs: list[TensorSpec]
    tagging: Tagging | None = None
    tokenizer: Tokenizer | None = None
    joint: Joint | None = None

    @model_validator(mode="after")
    def _outputs_are_explained(self) -> "Contract":
        check_tags(self.outputs, self.tagging)
        check_tokens(self.outputs, self.tokenizer)
        check_latents(self.outputs, self.joint)
        return self

    @property
    def description(self) -> Description:
        """What a session of it says of its model."""
        return Description(
            self.inputs,
            self.outputs,
            self.framing,
            self.artefact_sha256,
            self.tagging,
            self.tokenizer,
            self.joint,
        )

    def to_parameters(self) -> dict[str, str]:
        """The contract as a string map."""
        parameters = {
            "muqrt.framing": self.framing.model_dump_json(),
            "muqrt.level": str(self.level),
            "muqrt.precision": self.precision,
            "muqrt.artefact_sha256": self.artefact_sha256,
            "muqrt.source": self.source,
            "muqrt.inputs": _SPECS.dump_json(self.inputs).decode(),
            "muqrt.outputs": _SPECS.dump_json(self.outputs).decode(),
        }
        for name in _MEANINGS:
            meaning = getattr(self, name)
            if meaning is not None:
                parameters[f"muqrt.{name}"] = meaning.model_dump_json()
        return parameters

    @classmethod
    def from_parameters(cls, parameters: Mapping[str, str]) -> "Contract":
        """The contract in a model's parameters.

        Raises:
            KeyError: a parameter is missing: the model is not one that muqrt wrote.
            ValueError: a parameter is not what muqrt writes.
        """
        meanings = {
            name: kind.model_validate_json(parameters[f"muqrt.{name}"])
            for name, kind in _MEANINGS.items()
            if f"muqrt.{name}" in parameters
        }
        return cls(
            framing=Framing.model_validate_json(parameters["muqrt.framing"]),
            level=int(parameters["muqrt.level"]),
            precision=parameters["muqrt.precision"],
            artefact_sha256=parameters["muqrt.artefact_sha256"],
            source=parameters["muqrt.source"],
            inputs=_SPECS.validate_json(parameters["muqrt.inputs"]),
            outputs=_SPECS.validate_json(parameters["muqrt.outputs"]),
            **meanings,
        )
