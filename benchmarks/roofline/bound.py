"""The least time that a GPU can take, by the roofline model.

A group of operators takes at least its arithmetic at the highest published rate, and at least the
traffic with the GPU's memory at its published bandwidth. Groups run one after another. What a group
computes for itself stays on the chip. What the L2 cache can hold stays there: that much of the
weights from run to run, and that much of each result from group to group.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from .gpus import Gpu
from .work import Group


@dataclass(frozen=True)
class Bound:
    """The least that a part, or everything, takes.

    Attributes:
        part: of the model.
        flops: operations by precision, two for each multiply-add.
        weight_bytes: weights that are read.
        result_bytes: results of other parts that are read, and its own that are written for them.
        compute_seconds: of the operations alone.
        memory_seconds: of the traffic that no cache can save.
        seconds: of each group the longer of both, added up.
    """

    part: str
    flops: dict[str, int] = field(default_factory=dict)
    weight_bytes: int = 0
    result_bytes: int = 0
    compute_seconds: float = 0.0
    memory_seconds: float = 0.0
    seconds: float = 0.0

    @property
    def by(self) -> str:
        """What bounds it: "compute", "memory", or nothing that is counted."""
        if not self.seconds:
            return "-"
        return "compute" if self.compute_seconds >= self.memory_seconds else "memory"

    def __add__(self, other: "Bound") -> "Bound":
        names = [*self.flops, *(each for each in other.flops if each not in self.flops)]
        return Bound(
            self.part,
            {name: self.flops.get(name, 0) + other.flops.get(name, 0) for name in names},
            self.weight_bytes + other.weight_bytes,
            self.result_bytes + other.result_bytes,
            self.compute_seconds + other.compute_seconds,
            self.memory_seconds + other.memory_seconds,
            self.seconds + other.seconds,
        )


def bounds(groups: Sequence[Group], gpu: Gpu) -> list[Bound]:
    """The bound of each part, in the order in which they begin.

    Raises:
        UsageError: the GPU has no products in one of the precisions.
    """
    weights = sum(group.weight_bytes for group in groups)
    read_again = _beyond_cache(weights, gpu) / weights if weights else 0.0
    found: dict[str, Bound] = {}
    for group in groups:
        bound = _bound(group, gpu, read_again)
        found[group.part] = found[group.part] + bound if group.part in found else bound
    return list(found.values())


def total(parts: Sequence[Bound]) -> Bound:
    """Everything."""
    return sum(parts, Bound("all"))


def _bound(group: Group, gpu: Gpu, read_again: float) -> Bound:
    flops = {name: 2 * count for name, count in group.multiply_adds.items()}
    results = [*group.read_bytes.values(), *group.written_bytes.values()]
    traffic = read_again * group.weight_bytes + sum(_beyond_cache(each, gpu) for each in results)
    compute_seconds = sum(count / gpu.rate(name) for name, count in flops.items())
    memory_seconds = traffic / gpu.bytes_per_second
    return Bound(
        part=group.part,
        flops=flops,
        weight_bytes=group.weight_bytes,
        result_bytes=sum(results),
        compute_seconds=compute_seconds,
        memory_seconds=memory_seconds,
        seconds=max(compute_seconds, memory_seconds),
    )


def _beyond_cache(size: float, gpu: Gpu) -> float:
    """How many of these bytes the cache cannot hold."""
    return max(0.0, size - gpu.cache_bytes)
