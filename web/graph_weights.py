"""Which bytes of which files of weights a graph refers to; ``onnx`` need not be installed."""

import re
from collections.abc import Iterable
from pathlib import Path

# The external data of a tensor as ``export.graph.saving`` has ONNX write it: three pairs of key and
# value, each with its length before it.
_PAIR = rb"j.\n%b\x12.%b"
_EXTERNAL = re.compile(
    _PAIR % (rb"\x08location", rb"([\w.-]+)")
    + _PAIR % (rb"\x06offset", rb"(\d+)")
    + _PAIR % (rb"\x06length", rb"(\d+)"),
    re.DOTALL,
)


def weight_ranges(graphs: Iterable[Path]) -> dict[str, range]:
    """The part of each file of weights, beside the graphs, that these need."""
    found: dict[str, range] = {}
    for graph in graphs:
        for name, offset, length in _EXTERNAL.findall(graph.read_bytes()):
            start, stop = int(offset), int(offset) + int(length)
            known = found.get(name.decode(), range(start, stop))
            found[name.decode()] = range(min(known.start, start), max(known.stop, stop))
    return found
