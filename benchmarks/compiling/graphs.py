"""Every kind of graph that muqrt writes for GPUs."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import onnx

from ...errors import CheckpointError
from ...export.engines.tensorrt_rtx.compiler import Shapes
from ...export.graph.levels import levels_graph
from ...export.graph.mulan.towers import mulan_text_graph
from ...export.graph.saving import save_onnx
from ...export.graph.writer import Graph
from ...export.onnx_from_checkpoint import onnx_from_checkpoint
from ...export.outputs.registry import OUTPUTS
from ...export.quantize.half.formats import HALVES
from ...export.quantize.half.typed import typed
from ...export.quantize.int8.calibration import Range
from ...export.quantize.int8.sites import activations
from ...export.quantize.qdq.formats import FORMATS
from ...export.quantize.qdq.graph import QdqGraph, with_float16
from ...export.sources.checkpoint import JointCheckpoint
from ...export.sources.head import find_head, load_tag_head
from ...export.sources.rvq import TokenRvq, own_rvq
from ...export.sources.sources import Sources
from ...reference.checkpoint import Checkpoint
from ...runtime.bundle.certificate import Precision
from ...runtime.bundle.engine_options import Profile, Shape
from ...runtime.bundle.joint import IDS, LATENTS, MASK
from ...runtime.bundle.parts import ATTENTION_BIAS, FRAMES
from ...runtime.engines.session import WAVEFORM

Part = Literal["whole", "levels", "text tower"]
PRECISIONS: tuple[Precision, ...] = ("fp32", "fp16", "bf16", "int8", "fp8")
ALL, FEATURES = "all", "features"
# Of activations in 8 bits: a compiler does not look at how large a scale is.
_LARGEST = 8.0


@dataclass(frozen=True)
class Kind:
    """A graph.

    Attributes:
        precision: as in a manifest: int8 and fp8 are the forms with QuantizeLinear.
        outputs: what it computes.
        level: the deepest hidden state that it computes.
        part: "whole" is everything from a waveform, "levels" what goes on from one hidden state to
            any deeper one, "text tower" a MuQ-MuLan's.
    """

    precision: Precision
    outputs: tuple[str, ...]
    level: int
    part: Part = "whole"

    @property
    def output(self) -> str:
        """What it computes, as a row of a table is called."""
        if self.part != "whole":
            return self.part
        name = self.outputs[0] if len(self.outputs) == 1 else ALL
        return f"{name}, level {self.level}" if name == FEATURES else name

    @property
    def form(self) -> str:
        """The name of its precision on the command line."""
        return f"{self.precision}-qdq" if self.precision in FORMATS else self.precision


class GraphSource:
    """A checkpoint, and the graphs that can be written from it.

    Args:
        checkpoint: a MuQ's, or a MuQ-MuLan's.
        head: a tagger's folder; the checkpoint's own when None.
    """

    def __init__(self, checkpoint: Checkpoint, head: Path | None = None) -> None:
        self.checkpoint = checkpoint
        self._joint = checkpoint if isinstance(checkpoint, JointCheckpoint) else None
        head = head or find_head(checkpoint.name)
        self._sources = Sources(
            head=load_tag_head(head) if head is not None else None,
            rvq=self._own_rvq(),
            joint=self._joint,
        )

    def kinds(self) -> Iterator[Kind]:
        """In every precision: features at the first, the middle and the last level, each other
        output, all at once, and every level from one graph. Of a MuQ-MuLan only what its MuQ alone
        lacks: the latents, and the text tower, which GPUs get in float32 only."""
        model, sources = self.checkpoint.model, self._sources
        depth = model.config.encoder_depth
        known = [each for each in OUTPUTS if each.spec(model, depth, sources) is not None]
        names = tuple(each.name for each in known)
        for precision in PRECISIONS:
            if self._joint is not None:
                yield Kind(precision, (LATENTS,), depth)
                continue
            for level in dict.fromkeys((0, depth // 2, depth)):
                yield Kind(precision, (FEATURES,), level)
            for name in names:
                if name != FEATURES:
                    yield Kind(precision, (name,), depth)
            yield Kind(precision, names, depth)
            yield Kind(precision, (FEATURES,), depth, "levels")
        if self._joint is not None:
            yield Kind("fp32", (LATENTS,), 0, "text tower")

    def profiles(self, kind: Kind) -> dict[str, Shapes]:
        """The shapes that a graph is compiled for, each alone: those of ``EngineOptions``, and
        one."""
        if kind.part == "text tower":
            some = {"dynamic": ((1, 2), (1, 16), (32, 64)), "fixed": ((1, 16), (1, 16), (1, 16))}
            return {name: {IDS.name: three, MASK.name: three} for name, three in some.items()}
        found = {
            "dynamic": Profile(),
            "fixed": Profile(window_seconds=(10, 10, 10), batch=(1, 1, 1)),
        }
        shapes = self._levels_shapes if kind.part == "levels" else _waveform_shapes
        return {name: shapes(profile) for name, profile in found.items()}

    def write(self, kind: Kind, folder: Path) -> Path:
        """Write a graph into a folder, as ``muqrt build`` does but for the numbers that it measures
        on music: no node is kept in float32 for its range, and every scale is the same."""
        path = folder / "graph.onnx"
        save_onnx(self._model(kind), path)
        return path

    def _own_rvq(self) -> TokenRvq | None:
        try:
            return own_rvq(self.checkpoint)
        except CheckpointError:  # it has none
            return None

    def _levels_shapes(self, profile: Profile) -> Shapes:
        config = self.checkpoint.model.config
        width, step = config.encoder_dim, config.step_samples

        def shapes(batch: int, samples: int) -> tuple[Shape, Shape]:
            return (batch, samples // step, width), (batch, 1, 1, samples // step)

        least, likeliest, most = (shapes(*waveform) for waveform in profile.waveforms)
        frames, bias = zip(least, likeliest, most, strict=True)
        return {FRAMES: frames, ATTENTION_BIAS.name: bias}

    def _model(self, kind: Kind) -> onnx.ModelProto:
        if kind.part == "text tower":
            assert self._joint is not None
            return mulan_text_graph(self._joint.mulan, Graph())
        model, form = self.checkpoint.model, FORMATS.get(kind.precision)
        graph = Graph()
        if form is not None:
            watched = activations(model, kind.level)
            ranges = form.ranges(dict.fromkeys(watched, Range(-_LARGEST, _LARGEST)))
            graph = QdqGraph(form.products(ranges), form)
        written = onnx_from_checkpoint(model, kind.outputs, kind.level, "any", self._sources, graph)
        if form is not None:
            written = with_float16(written, set())
        elif kind.precision in HALVES:
            written = typed(written, HALVES[kind.precision])
        if kind.part == "levels":
            return levels_graph(written, kind.level, model.config.encoder_dim)
        return written


def _waveform_shapes(profile: Profile) -> Shapes:
    return {WAVEFORM: profile.waveforms}
