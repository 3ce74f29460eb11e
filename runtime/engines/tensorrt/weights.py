"""Weights of a TensorRT engine that its plan lacks, or that stay in the host's memory."""

from pathlib import Path
from typing import Any

from ....errors import SessionError
from .library import tensorrt

_SHOWN_NAMES = 3


def put_back_weights(engine: Any, onnx_path: Path, log: Any) -> None:
    """Give the engine of a stripped plan its weights, before anything runs it.

    Args:
        engine: an ``ICudaEngine``.
        onnx_path: the graph it was built from, its external data beside it.
        log: of ``message_log``.
    """
    trt = tensorrt()
    refitter = trt.Refitter(engine, log)
    parser_refitter = trt.OnnxParserRefitter(refitter, log)
    if not parser_refitter.refit_from_file(str(onnx_path)):
        found = parser_refitter.num_errors > 0
        reason = parser_refitter.get_error(0).desc() if found else log.complaint()
    elif missing := refitter.get_missing_weights():
        reason = f"{len(missing)} are missing, such as {', '.join(missing[:_SHOWN_NAMES])}."
    elif not refitter.refit_cuda_engine():
        reason = log.complaint()
    else:
        return
    raise SessionError(
        f"{onnx_path}: TensorRT cannot take a stripped plan's weights from it: {reason} Build the "
        "plan again, without --strip."
    )


def stream_weights(engine: Any, budget_bytes: int | None) -> None:
    """Set how much of the weights stays in the GPU's memory; call it before making a context.

    Args:
        engine: an ``ICudaEngine`` built for weight streaming.
        budget_bytes: the most that stays; TensorRT's own choice for the free memory when None.
    """
    if budget_bytes is None:
        wanted = engine.get_weight_streaming_automatic_budget()
    elif budget_bytes < 0:
        raise SessionError(f"a weight budget of {budget_bytes} bytes: 0 is the least.")
    else:
        wanted = min(budget_bytes, engine.streamable_weights_size)
    engine.weight_streaming_budget_v2 = wanted
    if engine.weight_streaming_budget_v2 != wanted:  # nothing else says so
        raise SessionError(
            f"TensorRT refuses to keep {wanted / 1e6:.0f} MB of the weights on the GPU: end what "
            "else uses it (nvidia-smi lists it), or give a smaller budget."
        )
