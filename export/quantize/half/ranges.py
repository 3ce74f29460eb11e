"""How large a graph's numbers become on music, and which nodes that keeps out of 16 bits."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper

from ....kernels.log_mel.onnx import NAME as LOG_MEL
from ....runtime.bundle.precision.mixed_precision import KeptNode, Reason
from ....runtime.engines.session import WAVEFORM
from ...graph.saving import save_onnx
from ...parity.excerpt import Excerpt
from .formats import Half
from .typed import PRODUCTS, always_float32, nodes_of

# Of the largest number that a format has: other music is louder, elsewhere in its spectrum.
_SAFE_SHARE = 1 / 4
_ANSWER = "largest"
_FLAT = "largest/flat"


@dataclass(frozen=True)
class Ranges:
    """Largest magnitudes over all of the music.

    Attributes:
        values: of every floating-point value, by its name.
        sums: of every product, by its node's name: the largest sum of |x| |w|. No partial sum, in
            whatever order an engine adds, is larger.
    """

    values: Mapping[str, float]
    sums: Mapping[str, float]

    def by_part(self) -> dict[str, float]:
        """The largest value of the log-mel and of each of the graph's scopes, two levels deep."""
        found: dict[str, float] = {}
        for name, largest in self.values.items():
            part = name if name == LOG_MEL else "/".join(name.split("/")[:-1][:2])
            if part:  # what has no scope repeats what has
                found[part] = max(found.get(part, 0.0), largest)
        return found


def observe(
    model: onnx.ModelProto,
    music: Sequence[Excerpt],
    folder: Path,
    on_step: Callable[[str], None] = lambda what: None,
) -> Ranges:
    """Run a float32 graph on music and keep the largest magnitudes.

    Only scalars leave the graph, and each value is reduced where it is computed: however large the
    model, hardly more of it is in memory than when it answers.

    Args:
        model: used up.
        music: what to run on.
        folder: where the graph is stored for the run.
        on_step: called after each excerpt.
    """
    values, sums = _watch(model)
    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # An optimizer would compute |w| of all weights beforehand, and keep them.
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    largest = np.zeros(len(values) + len(sums), np.float32)
    with TemporaryDirectory(dir=folder) as temporary:
        path = Path(temporary) / "watched.onnx"
        save_onnx(model, path)
        session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        for excerpt in music:
            (found,) = session.run([_ANSWER], {WAVEFORM: excerpt.waveform})
            largest = np.maximum(largest, np.nan_to_num(found, nan=np.inf))
            on_step(f"ranges: {excerpt.name}")
    # The manifest is JSON, which has no infinity.
    figures = np.minimum(largest, np.finfo(np.float32).max).tolist()
    return Ranges(
        dict(zip(values, figures[: len(values)], strict=True)),
        dict(zip(sums, figures[len(values) :], strict=True)),
    )


def kept_nodes(model: onnx.ModelProto, ranges: Ranges, half: Half) -> list[KeptNode]:
    """Find the nodes whose numbers need float32, and why.

    One whose values or partial sums exceed the safe part of the format's range; and a product whose
    weights are so small that the format has too few digits for them.
    """
    tensors = {
        each.name: each for each in model.graph.initializer if each.data_type == TensorProto.FLOAT
    }
    safe, found = half.largest * _SAFE_SHARE, []
    for node in nodes_of(model, TensorProto.FLOAT):
        if always_float32(node):
            continue
        values = [ranges.values.get(name, 0.0) for name in (*node.input, *node.output)]
        read = [name for name in node.input if name in tensors]
        weights = {name: numpy_helper.to_array(tensors[name]) for name in read}
        values += [float(np.abs(each).max()) for each in weights.values()]
        kernel = weights.get(node.input[1]) if node.op_type in PRODUCTS else None
        tests: dict[Reason, tuple[float, float]] = {
            "range": (max(values), safe),
            "sum": (ranges.sums.get(node.name, 0.0), safe),
            "weights": (0.0 if kernel is None else _rounding(kernel, half), half.unit_roundoff),
        }
        for reason, (figure, limit) in tests.items():
            if figure > limit:
                kept = KeptNode(name=node.name, operator=node.op_type, reason=reason, figure=figure)
                found.append(kept)
                break
    return found


def _rounding(weights: np.ndarray, half: Half) -> float:
    """What rounding does to the weights, relative to their norm.

    Each weight of normal size keeps within the unit roundoff of itself; more than that in all says
    that those below, which have fewer digits or become 0, are most of the matrix.
    """
    norm = np.linalg.norm(weights)
    error = np.linalg.norm(half.decoded(half.encoded("", weights)) - weights)
    return float(error / norm) if norm > 0 else 0.0


def _watch(model: onnx.ModelProto) -> tuple[list[str], list[str]]:
    """Make the concatenated largest magnitudes a graph's only output.

    Returns:
        The values and the products that they are of.
    """
    graph = model.graph
    values, sums, largest, nodes = [], [], {}, list(graph.node)
    floats = {node.name for node in nodes_of(model, TensorProto.FLOAT)}
    flat = numpy_helper.from_array(np.array([1], np.int64), _FLAT)
    del graph.node[:]
    for node in nodes:
        graph.node.append(node)
        if node.name not in floats:
            continue
        for name in node.output:
            values.append(name)
            largest[name] = _reduced(graph, name)
        if node.op_type in PRODUCTS:
            sums.append(node.name)
            bounded = onnx.NodeProto()
            bounded.CopyFrom(node)
            bounded.input[:] = [_magnitude(graph, name) for name in node.input]
            bounded.output[:] = [f"{_ANSWER}/sum/{node.name}"]
            bounded.name = bounded.output[0]
            graph.node.append(bounded)
            largest[node.name, "sum"] = _reduced(graph, bounded.output[0])
    order = [*(largest[name] for name in values), *(largest[name, "sum"] for name in sums)]
    graph.node.append(helper.make_node("Concat", order, [_ANSWER], axis=0))
    graph.initializer.append(flat)
    del graph.output[:]
    graph.output.append(helper.make_tensor_value_info(_ANSWER, TensorProto.FLOAT, [len(order)]))
    return values, sums


def _reduced(graph: onnx.GraphProto, value: str) -> str:
    """The largest magnitude of a value, as a vector of one."""
    scalar, vector = f"{_ANSWER}/scalar/{value}", f"{_ANSWER}/vector/{value}"
    magnitude = _magnitude(graph, value)
    graph.node.append(helper.make_node("ReduceMax", [magnitude], [scalar], keepdims=0))
    graph.node.append(helper.make_node("Reshape", [scalar, _FLAT], [vector]))
    return vector


def _magnitude(graph: onnx.GraphProto, value: str) -> str:
    name = f"{_ANSWER}/magnitude/{value}/{len(graph.node)}"
    graph.node.append(helper.make_node("Abs", [value], [name]))
    return name
