"""Which nodes of an artefact compute in 16 bits and which in float32, and why."""

from typing import Literal

from pydantic import Field

from ..record import Record

Reason = Literal["range", "sum", "weights", "error"]


class KeptNode(Record):
    """A node that stays float32 because of its numbers.

    ``reason`` says what ``figure`` is: "range", the largest magnitude that the node reads or
    writes; "sum", the largest that a partial sum of its products can reach; "weights", what
    rounding its weights would change of them, relative to their norm; "error", what rounding its
    part alone changes of the features, as a relative L2: without it the gate was missed.
    """

    name: str
    operator: str
    reason: Reason
    figure: float = Field(ge=0)


class Emulation(Record):
    """The worst figures of the graph in float32 with every 16-bit value rounded to its 16 bits.

    They show what the format costs, but certify nothing: no engine ran in the format.
    """

    worst_frame_cosine: float
    relative_l2: float
    largest_tag_change: float
    equal_tokens: float
    # None in manifests of before there were latents.
    worst_latents_cosine: float | None = None
    equal_ranks: float | None = None


class MixedPrecision(Record):
    """How a 16-bit artefact was made.

    Attributes:
        measured_on: the music that the magnitudes were measured on.
        measured_seconds: length of that music.
        half_nodes: how many nodes compute in 16 bits.
        float32_nodes: how many compute in float32, by operator, those of ``kept`` included.
        kept: the nodes that stay float32 because of their numbers, not of what they are.
        largest: the largest magnitude in each part of the model, float32.
        emulation: what rounding costs.
    """

    measured_on: list[str]
    measured_seconds: float
    half_nodes: int = Field(ge=0)
    float32_nodes: dict[str, int]
    kept: list[KeptNode]
    largest: dict[str, float]
    emulation: Emulation

    def summary(self) -> str:
        """One line for people."""
        wide = sum(self.float32_nodes.values())
        names = ", ".join(f"{each.name} ({each.reason} {each.figure:.3g})" for each in self.kept)
        return (
            f"{self.half_nodes} nodes in 16 bits, {wide} in float32"
            f"{f', by their numbers: {names}' if names else ''}. With every rounding emulated: "
            f"worst frame cosine {self.emulation.worst_frame_cosine:.6f}, relative L2 "
            f"{self.emulation.relative_l2:.1e}."
        )
