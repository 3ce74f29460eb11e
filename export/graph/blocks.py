"""Long inputs in blocks of time: memory that grows with the length, and not with its square.

A block is one turn of a Loop. Inputs of a usual length are a single block: the same numbers as
without the Loop, in the same time.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from .writer import Graph


@dataclass(frozen=True)
class Blocks:
    """How time is cut.

    Attributes:
        whole: inputs up to this length stay in one piece.
        longest: of a block of a longer input; its blocks are equally long, but for the last.
    """

    whole: int
    longest: int


def in_blocks(
    graph: Graph,
    blocks: Blocks,
    steps: str,
    empty: str,
    axis: int,
    block: Callable[[str, str], str],
) -> str:
    """Join what ``block`` writes for each block.

    Args:
        graph: where to write.
        blocks: how to cut.
        steps: the input's length, int64 (1,).
        empty: the result of no block, float32, 0 long along ``axis``.
        axis: along which results are joined.
        block: called once, with a block's first step and the step after its last, int64 (1,).
    """
    longest = graph.op(
        "Where",
        graph.op("LessOrEqual", steps, graph.constant([blocks.whole])),
        graph.constant([blocks.whole]),
        graph.constant([blocks.longest]),
    )
    count = rounded_up(graph, steps, longest)
    length = rounded_up(graph, steps, count)

    def turn(number: str, before: str) -> str:
        start = graph.op("Mul", graph.op("Reshape", number, graph.constant([1])), length)
        stop = graph.op("Min", graph.op("Add", start, length), steps)
        return graph.op("Concat", before, block(start, stop), axis=axis)

    return graph.loop(graph.op("Squeeze", count), empty, turn)


def rounded_up(graph: Graph, count: str, divisor: str) -> str:
    """A count divided and rounded up, all int64 (1,)."""
    more = graph.op("Sub", graph.op("Add", count, divisor), graph.constant([1]))
    return graph.op("Div", more, divisor)


def sliced(graph: Graph, x: str, start: str, stop: str, axis: int) -> str:
    """Steps of ``x`` along an axis; the bounds are int64 (1,)."""
    return graph.op("Slice", x, start, stop, graph.constant([axis]))


def nothing(graph: Graph, *shape: int | str) -> str:
    """No numbers, float32, in a shape of counts and values int64 (1,)."""
    dimensions = [each if isinstance(each, str) else graph.constant([each]) for each in shape]
    joined = graph.op("Concat", *dimensions, axis=0)
    return graph.op("Expand", graph.constant(np.zeros(()), np.float32), joined)
