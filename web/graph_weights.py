"""Which bytes of which files of weights a graph refers to; ``onnx`` need not be installed."""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

# Type and name of a tensor, where it is of floating point; and then its external data as
# ``export.graph.saving`` has ONNX write it: three pairs of key and value, each with its length
# before it.
_PAIR = rb"j.\n%b\x12.%b"
_EXTERNAL = re.compile(
    rb"(?:\x10([\x01\x0a])B.[^\x00-\x1f]+?)?"
    + _PAIR % (rb"\x08location", rb"([\w.-]+)")
    + _PAIR % (rb"\x06offset", rb"(\d+)")
    + _PAIR % (rb"\x06length", rb"(\d+)"),
    re.DOTALL,
)
_TYPES = {b"\x01": "float32", b"\x0a": "float16"}


class ExternalTensor(NamedTuple):
    """A tensor in a file of weights: ``length`` bytes from ``offset`` on.

    ``type`` is "float16", "float32" or, of any other, None.
    """

    file: str
    offset: int
    length: int
    type: str | None


def external_tensors(graph: Path) -> Iterator[ExternalTensor]:
    """Those of a graph, in its order."""
    for kind, name, offset, length in _EXTERNAL.findall(graph.read_bytes()):
        yield ExternalTensor(name.decode(), int(offset), int(length), _TYPES.get(kind))


def weight_ranges(graphs: Iterable[Path]) -> dict[str, range]:
    """The part of each file of weights, beside the graphs, that these need."""
    found: dict[str, range] = {}
    for each in (tensor for graph in graphs for tensor in external_tensors(graph)):
        start, stop = each.offset, each.offset + each.length
        known = found.get(each.file, range(start, stop))
        found[each.file] = range(min(known.start, start), max(known.stop, stop))
    return found
