"""Measured latencies beside the bound: how much of what the GPU could do was reached."""

from collections.abc import Sequence
from dataclasses import dataclass

from ...errors import BundleError, UsageError
from ...runtime.bundle.manifest import Bundle
from ..measure.latency import Latency
from .bound import bounds, total
from .choose import Counted, choose, counted_groups, onnx_graphs
from .gpus import Gpu
from .work import BYTES


@dataclass(frozen=True)
class Share:
    """A latency and its bound.

    ``share`` is the bound's seconds over the measured median; 1 is the bound itself.
    """

    contender: str
    window_seconds: float
    batch: int
    bound_seconds: float
    share: float


def shares(
    bundle: Bundle, latencies: Sequence[Latency], gpu: Gpu, output: str = "features"
) -> list[Share]:
    """Compare every latency with the bound of its own graph; what has none, such as PyTorch, with
    that of the bundle's graph in its precision.

    Args:
        bundle: whose graphs are counted.
        latencies: measured on the GPU.
        gpu: its published figures.
        output: what was computed; what only other outputs need is not counted.

    Returns:
        One for each latency whose bound is known, in their order.
    """
    counted = {each.contender: _counted(bundle, each, gpu) for each in latencies}
    cells = list(dict.fromkeys((each.batch, each.window_seconds) for each in latencies))
    seconds: dict[tuple[str, int, float], float] = {}
    for graph in {each.name: each for each in counted.values() if each is not None}.values():
        found = counted_groups(bundle, graph, cells, [output])
        for (batch, window), groups in zip(cells, found, strict=True):
            seconds[graph.name, batch, window] = total(bounds(groups, gpu)).seconds
    return [
        Share(each.contender, each.window_seconds, each.batch, bound, bound / each.median_seconds)
        for each in latencies
        if (own := counted[each.contender]) is not None
        and (bound := seconds[own.name, each.batch, each.window_seconds])
    ]


def _counted(bundle: Bundle, latency: Latency, gpu: Gpu) -> Counted | None:
    """What to count for a contender; None where nothing that has a rate fits."""
    graphs = {each.name for each in onnx_graphs(bundle)}
    if latency.precision not in BYTES:
        return None
    try:
        gpu.rate(latency.precision)
        own = latency.contender if latency.contender in graphs else None
        return choose(bundle, own, latency.precision)
    except (BundleError, UsageError):
        return None
