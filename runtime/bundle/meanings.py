"""What a model's outputs mean: the registry of the records that explain outputs, and its loops.

A further output takes one module with its ``Output``, and one entry in ``OUTPUTS``.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeVar, cast

from pydantic import BaseModel, InstanceOf, SerializeAsAny, create_model

from .joint import Joint
from .mix import Mix
from .output import Gate, Output
from .record import Record, TensorSpec
from .scoring import Scoring
from .tagging import Tagging
from .tokens import Tokenizer

# Manifests list them in this order, and artefacts' digests depend on it.
OUTPUTS: tuple[type[Output], ...] = (Tagging, Tokenizer, Joint, Mix, Scoring)

Meanings = dict[str, InstanceOf[SerializeAsAny[Output]]]  # by the output's name
_Output = TypeVar("_Output", bound=Output)


class Explained:
    """A model whose outputs are explained by ``meanings``."""

    if TYPE_CHECKING:  # pydantic would put an inherited field before the model's own
        meanings: Mapping[str, Output]

    def meaning(self, kind: type[_Output]) -> _Output | None:
        """The record of this kind; None if the model has no such output."""
        return cast("_Output | None", self.meanings.get(kind.output))

    @property
    def tagging(self) -> Tagging | None:
        """What the output ``tags`` means."""
        return self.meaning(Tagging)

    @property
    def tokenizer(self) -> Tokenizer | None:
        """What the output ``tokens`` means."""
        return self.meaning(Tokenizer)

    @property
    def joint(self) -> Joint | None:
        """What the output ``latents`` means."""
        return self.meaning(Joint)


def explained(*records: Output | None) -> Meanings:
    """Records by their outputs' names, in the registry's order; None is left out."""
    given = {record.output: record for record in records if record is not None}
    return {kind.output: given[kind.output] for kind in OUTPUTS if kind.output in given}


def check_outputs(outputs: Sequence[TensorSpec], meanings: Mapping[str, Output]) -> None:
    """Raise ValueError unless every registered output is what its record says, or both lack."""
    for kind in OUTPUTS:
        found, meaning = [spec for spec in outputs if spec.name == kind.output], None
        if kind.output in meanings:
            meaning = meanings[kind.output]
        if not found and (meaning is None or kind.optional):
            continue
        if meaning is None or len(found) != 1 or not meaning.matches(found[0]):
            shapes = [(spec.dtype, spec.shape) for spec in found]
            expected = [] if meaning is None else [(meaning.spec.dtype, meaning.spec.shape)]
            raise ValueError(f"outputs {kind.output!r} are {shapes}; by the {kind.key}: {expected}")


def gates_of(output: str) -> tuple[Gate, ...]:
    """The figures that an output's numbers are certified by."""
    return next((kind.gates for kind in OUTPUTS if kind.output == output), Output.gates)


def every_gate() -> Iterator[Gate]:
    """The gates of the features and of every registered output."""
    yield from Output.gates
    for kind in OUTPUTS:
        yield from kind.gates


def gather(document: Any) -> Any:
    """A document whose records stand under their own keys, with ``meanings`` in their place."""
    if not isinstance(document, Mapping) or "meanings" in document:
        return document
    keys = {kind.key for kind in OUTPUTS}
    rest = {key: value for key, value in document.items() if key not in keys}
    found = _records(OUTPUTS).model_validate(
        {key: value for key, value in document.items() if key in keys}
    )
    return rest | {"meanings": explained(*(value for _, value in found))}


def spread(dumped: dict[str, Any]) -> dict[str, Any]:
    """The opposite of ``gather``: every record under its own key, and None where those are missing
    that manifests always list."""
    result: dict[str, Any] = {}
    for key, value in dumped.items():
        if key == "meanings":
            result.update(
                {
                    kind.key: value.get(kind.output)
                    for kind in OUTPUTS
                    if kind.always_listed or kind.output in value
                }
            )
        else:
            result[key] = value
    return result


def from_texts(texts: Mapping[str, str]) -> Meanings:
    """The records in a server's parameters."""
    parameters = {kind: texts.get(f"muqrt.{kind.key}") for kind in OUTPUTS}
    return explained(
        *(kind.model_validate_json(text) for kind, text in parameters.items() if text is not None)
    )


def to_texts(meanings: Mapping[str, Output]) -> dict[str, str]:
    """The records as a server's parameters."""
    return {f"muqrt.{each.key}": each.model_dump_json() for each in meanings.values()}


@lru_cache
def _records(kinds: tuple[type[Output], ...]) -> type[BaseModel]:
    fields: dict[str, Any] = {kind.key: (kind | None, None) for kind in kinds}
    return create_model("Records", __base__=Record, **fields)
