"""Takes the place of TensorRT for RTX where there is no GPU: what it has beside TensorRT's API.

``test_session.py`` of its engine holds the names against the real library's.
"""

import json
from enum import Enum
from types import SimpleNamespace
from typing import Any

from .fake_cuda import FakeCuda
from .fake_tensorrt import Context, Engine, FakeTensorRT


class RuntimeCache:
    """An IRuntimeCache: bytes of what was compiled; it refuses those of another machine."""

    def __init__(self) -> None:
        self.content = b""

    def serialize(self) -> bytes:
        return self.content

    def deserialize(self, blob: bytes) -> bool:
        if blob.startswith(b"another machine"):
            return False
        self.content = blob
        return True


class RuntimeConfig:
    """An IRuntimeConfig."""

    cuda_graph_strategy: Any = None
    dynamic_shapes_kernel_specialization_strategy: Any = None

    def __init__(self) -> None:
        self.cache: RuntimeCache | None = None

    def create_runtime_cache(self) -> RuntimeCache:
        return RuntimeCache()

    def set_runtime_cache(self, cache: RuntimeCache) -> bool:
        self.cache = cache
        return True


class RtxEngine(Engine):
    """An ICudaEngine, whose contexts need a configuration; each run of one compiles something."""

    def create_runtime_config(self) -> RuntimeConfig:
        return RuntimeConfig()

    def create_execution_context(self, config: RuntimeConfig) -> Context | None:  # type: ignore[override]
        self.config = config
        context = super().create_execution_context()
        assert config.cache is not None
        if context is not None and not config.cache.content.endswith(b"kernels"):
            config.cache.content += b"kernels"
        return context


class FakeTensorRtForRtx(FakeTensorRT):
    """The module; ``engines`` are those that were loaded, ``diagnostics`` what is wrong."""

    CudaGraphStrategy = Enum("CudaGraphStrategy", ["DISABLED", "WHOLE_GRAPH_CAPTURE"])
    DynamicShapesKernelSpecializationStrategy = Enum(
        "DynamicShapesKernelSpecializationStrategy", ["LAZY", "EAGER", "NONE"]
    )
    EngineValidity = Enum("EngineValidity", ["VALID", "SUBOPTIMAL", "INVALID"])

    def __init__(self, cuda: FakeCuda, real: Any, version: str = "1.7.1.116") -> None:
        super().__init__(cuda, version)
        self.__name__ = "tensorrt_rtx_bindings"
        self.EngineInvalidityDiagnostics = real.EngineInvalidityDiagnostics
        self.diagnostics = 0
        self.engines: list[RtxEngine] = []

    def Runtime(self, logger: Any) -> Any:
        def deserialize_cuda_engine(serialized_engine: bytes) -> RtxEngine:
            self.engines.append(RtxEngine(json.loads(serialized_engine), self, logger))
            return self.engines[-1]

        def get_engine_validity(buffer: bytes) -> tuple[Any, int]:
            kinds = self.EngineValidity
            return kinds.INVALID if self.diagnostics else kinds.VALID, self.diagnostics

        return SimpleNamespace(
            deserialize_cuda_engine=deserialize_cuda_engine,
            get_engine_validity=get_engine_validity,
        )
