"""ONNX to a TensorRT network, by NVIDIA's parser."""

from pathlib import Path
from typing import Any

from ....errors import BuildError
from ....kernels.log_mel.onnx import NAME as LOG_MEL
from ....kernels.mel_rvq.onnx import NAME as MEL_RVQ
from ....runtime.engines.tensorrt.library import full_name

_SHOWN_PROBLEMS = 3
# Said on a machine without a GPU, beside whatever is wrong with the graph.
_NO_DRIVER = "CUDA driver version is insufficient"


def parsed(trt: Any, network: Any, onnx_path: Path, log: Any, instead: bytes | None = None) -> Any:
    """Fill a network with an ONNX graph.

    Args:
        trt: the library, TensorRT or TensorRT for RTX.
        network: empty.
        onnx_path: the graph, its external data beside it.
        log: of ``message_log``.
        instead: another form of the graph with the same external data, to be parsed in its place.

    Returns:
        The parser, to be kept until the engine is built: it owns the weights.

    Raises:
        BuildError: the library does not take the graph.
    """
    parser = trt.OnnxParser(network, log)
    if instead is None:
        taken = parser.parse_from_file(str(onnx_path))
    else:
        taken = parser.parse(instead, str(onnx_path))
    if not taken:
        problems = [_problem(parser.get_error(i)) for i in range(parser.num_errors)]
        more = len(problems) - _SHOWN_PROBLEMS
        raise BuildError(
            f"{onnx_path}: {full_name(trt)} does not take "
            f"{'; '.join(problems[:_SHOWN_PROBLEMS]) or 'the graph: ' + log.complaint()}"
            f"{f'; and {more} more' if more > 0 else ''}"
        )
    return parser


def _problem(error: Any) -> str:
    """One of the parser's errors: where, what, and what to do."""
    operator = error.node_operator()
    if operator in (LOG_MEL, MEL_RVQ):
        cure = "Build without the fused kernels (--no-plugins)."
    else:
        cure = "Build from an fp32, fp16 or bf16 artefact that this muqrt exported."
    lines = [line.strip() for line in error.desc().splitlines() if _NO_DRIVER not in line]
    # All that some of its checks say is what they found.
    told = "not supported." if lines == ["false"] else " ".join(lines)
    return f"node {error.node_name()!r} ({operator or 'none'}): {told} {cure}"
