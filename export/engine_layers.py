"""What became of a graph's layers in an engine."""

from ..errors import BuildError
from ..runtime.tensorrt_library import message_log, tensorrt


def engine_layers(plan: bytes, version_compatible: bool) -> str:
    """Every layer of an engine as TensorRT's inspector tells it: JSON, with names, kernels, dtypes
    and shapes where the engine was built with ``EngineOptions.inspect``.

    Raises:
        BuildError: the plan cannot be loaded.
    """
    trt = tensorrt()
    log = message_log()
    runtime = trt.Runtime(log)
    runtime.engine_host_code_allowed = version_compatible
    engine = runtime.deserialize_cuda_engine(plan)
    if engine is None:
        raise BuildError(f"the new engine cannot be loaded: {'; '.join(log.errors)}")
    inspector = engine.create_engine_inspector()
    return str(inspector.get_engine_information(trt.LayerInformationFormat.JSON))
