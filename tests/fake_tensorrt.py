"""Takes the place of ``tensorrt`` where there is no GPU: builders, engines and their contexts.

A plan is JSON: the shapes of the profiles and the engine's tensors. What an engine computes is up
to the test, and else simple: ``features`` are the means of the waveform's steps times 1, 2, 3 and
so on, ``embedding`` is their mean over time. A stripped one computes NaNs until it is refitted.
``test_tensorrt_api.py`` holds the signatures against the real binding's.
"""

import json
from collections.abc import Callable
from enum import Enum
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from weakref import ref

import numpy as np

from .fake_cuda import FakeCuda

STEP_SAMPLES, WIDTH = 960, 4


def computed(waveform: np.ndarray) -> dict[str, np.ndarray]:
    """What the engine says of a waveform (batch, samples)."""
    steps = waveform.shape[1] // STEP_SAMPLES
    waveform = np.ascontiguousarray(waveform)
    cut = waveform[:, : steps * STEP_SAMPLES].reshape(len(waveform), steps, STEP_SAMPLES)
    features = (cut.mean(-1)[..., None] * np.arange(1, WIDTH + 1)).astype(np.float32)
    return {"features": features, "embedding": features.mean(1)}


class _Severity(Enum):
    INTERNAL_ERROR, ERROR, WARNING, INFO, VERBOSE = range(5)


class ILogger:
    Severity = _Severity


class IProgressMonitor:
    pass


class Context:
    """An IExecutionContext."""

    def __init__(self, engine: "Engine") -> None:
        self._engine, self._profile = engine, -1
        self._shape: tuple[int, ...] = ()
        self._addresses: dict[str, int] = {}

    def set_optimization_profile_async(self, profile_index: int, stream_handle: int) -> bool:
        self._profile = profile_index
        return stream_handle in self._engine.cuda.streams

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        least, _, most = self._engine.get_tensor_profile_shape(name, self._profile)
        self._shape = shape
        return all(a <= b <= c for a, b, c in zip(least, shape, most, strict=True))

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return self._engine.compute(np.zeros(self._shape, np.float32))[name].shape

    def set_tensor_address(self, name: str, memory: int) -> bool:
        self._addresses[name] = memory
        return memory % 256 == 0

    def execute_async_v3(self, stream_handle: int) -> bool:
        cuda, shape, addresses = self._engine.cuda, self._shape, dict(self._addresses)
        cuda.calls.append("execute_async_v3")
        if self._engine.failing:
            self._engine.log.log(ILogger.Severity.ERROR, "the kernel fell over")
            return False

        def at(name: str, of: tuple[int, ...]) -> np.ndarray:
            dtype = np.dtype(self._engine.get_tensor_dtype(name))
            raw = cuda.bytes_at(addresses[name], int(np.prod(of)) * dtype.itemsize)
            return np.frombuffer(raw, dtype).reshape(of)

        def work() -> None:
            for name, value in self._engine.compute(at("waveform", shape)).items():
                at(name, value.shape)[...] = np.nan if self._engine.lacks_weights else value

        cuda.streams[stream_handle].put(work)
        return True


class Inspector:
    """An EngineInspector."""

    def get_engine_information(self, format: Any) -> str:
        return json.dumps({"Layers": ["conv"], "format": format})


class Engine:
    """An ICudaEngine."""

    def __init__(self, plan: dict[str, Any], trt: "FakeTensorRT", log: Any) -> None:
        self._plan, self.cuda, self.compute, self.log = plan, trt.cuda, trt.compute, log
        self.failing = bool(plan.get("failing"))
        self.num_io_tensors = len(plan["tensors"])
        self.num_optimization_profiles = len(plan["profiles"])
        self.lacks_weights = "strip" in plan.get("flags", [])
        self.streamable_weights_size = 1000 if "stream" in plan.get("flags", []) else 0
        self._budget, self._contexts = self.streamable_weights_size, 0
        self._least_budget = plan.get("least budget", 0)

    @property
    def weight_streaming_budget_v2(self) -> int:
        return self._budget

    @weight_streaming_budget_v2.setter
    def weight_streaming_budget_v2(self, size: int) -> None:
        if self.streamable_weights_size and not self._contexts and size >= self._least_budget:
            self._budget = size

    def get_weight_streaming_automatic_budget(self) -> int:
        return 700

    def get_tensor_name(self, index: int) -> str:
        return list(self._plan["tensors"])[index]

    def get_tensor_dtype(self, name: str) -> str:
        return self._plan["tensors"][name]

    def get_tensor_profile_shape(self, name: str, profile_index: int) -> list[tuple[int, ...]]:
        return [tuple(shape) for shape in self._plan["profiles"][profile_index]]

    def create_execution_context(self) -> Context | None:
        if self._plan.get("no memory"):
            self.log.log(ILogger.Severity.ERROR, "requested 1 TB")
            return None
        self._contexts += 1
        return Context(self)

    def create_engine_inspector(self) -> Inspector:
        return Inspector()


class FakeTensorRT:
    """The module ``tensorrt``.

    Attributes:
        phases: what a build's progress monitor is told.
        problems: what the parser finds wrong: (node, operator, description).
        builds: the configurations of the builds, in order.
        compute: what engines compute of a waveform.
        missing: weights that a graph does not have.
    """

    ILogger, IProgressMonitor = ILogger, IProgressMonitor
    NetworkDefinitionCreationFlag = SimpleNamespace(STRONGLY_TYPED=1)
    MemoryPoolType = SimpleNamespace(WORKSPACE="workspace")
    BuilderFlag = SimpleNamespace(
        TF32="tf32",
        VERSION_COMPATIBLE="version",
        REFIT="refit",
        REFIT_IDENTICAL="identical",
        STRIP_PLAN="strip",
        WEIGHT_STREAMING="stream",
    )
    ProfilingVerbosity = SimpleNamespace(DETAILED="detailed")
    LayerInformationFormat = SimpleNamespace(JSON="json")
    HardwareCompatibilityLevel = Enum(
        "HardwareCompatibilityLevel", ["NONE", "AMPERE_PLUS", "SAME_COMPUTE_CAPABILITY"]
    )

    def __init__(self, cuda: FakeCuda, version: str = "10.16.0.72") -> None:
        self.__name__, self.__version__ = "tensorrt", version
        self.cuda = cuda
        self.phases = ["Building", "Timing"]
        self.problems: list[tuple[str, str, str]] = []
        self.builds: list[Config] = []
        self.compute: Callable[[np.ndarray], dict[str, np.ndarray]] = computed
        self.inputs = [("waveform", (-1, -1))]
        self.missing: list[str] = []
        self.no_gpu = self.no_engine = self.no_refit = False

    def nptype(self, trt_type: str) -> Any:
        return np.dtype(trt_type).type

    def Runtime(self, logger: Any) -> Any:
        def deserialize_cuda_engine(serialized_engine: bytes) -> Engine | None:
            try:
                return Engine(json.loads(serialized_engine), self, logger)
            except ValueError:
                logger.log(ILogger.Severity.ERROR, "magic tag does not match")
                return None

        return SimpleNamespace(deserialize_cuda_engine=deserialize_cuda_engine)

    def Builder(self, logger: Any) -> "Builder":
        if self.no_gpu:
            logger.log(ILogger.Severity.ERROR, "CUDA initialization failure with error: 35")
            raise TypeError("factory function returned nullptr")
        return Builder(self, logger)

    def OnnxParser(self, network: "Network", logger: Any) -> "Parser":
        parser = Parser(self, network)
        self._parser = ref(parser)  # whose the weights are
        return parser

    def Refitter(self, engine: Engine, logger: Any) -> "Refitter":
        return Refitter(self, engine, logger)

    def OnnxParserRefitter(self, refitter: "Refitter", logger: Any) -> "ParserRefitter":
        return ParserRefitter(self, refitter)


class Network:
    """An INetworkDefinition."""

    def __init__(self) -> None:
        self.inputs: list[Any] = []

    @property
    def num_inputs(self) -> int:
        return len(self.inputs)

    def get_input(self, index: int) -> Any:
        return self.inputs[index]


class Problems:
    """What a parser finds wrong."""

    def __init__(self, trt: FakeTensorRT) -> None:
        self._trt = trt
        self.num_errors = len(trt.problems)

    def get_error(self, index: int) -> Any:
        node, operator, description = self._trt.problems[index]
        return SimpleNamespace(
            node_name=lambda: node, node_operator=lambda: operator, desc=lambda: description
        )


class Parser(Problems):
    """An OnnxParser."""

    def __init__(self, trt: FakeTensorRT, network: Network) -> None:
        super().__init__(trt)
        self._network = network

    def parse_from_file(self, model: str) -> bool:
        assert Path(model).is_file()
        self._network.inputs = [SimpleNamespace(name=n, shape=s) for n, s in self._trt.inputs]
        return not self._trt.problems


class Refitter:
    """A Refitter."""

    def __init__(self, trt: FakeTensorRT, engine: Engine, log: Any) -> None:
        self._trt, self._engine, self._log = trt, engine, log
        self.graph: Path | None = None

    def get_missing_weights(self) -> list[str]:
        return self._trt.missing

    def refit_cuda_engine(self) -> bool:
        if self._trt.no_refit:
            self._log.log(ILogger.Severity.ERROR, "refitting failed")
            return False
        self._engine.lacks_weights = self.graph is None
        return True


class ParserRefitter(Problems):
    """An OnnxParserRefitter."""

    def __init__(self, trt: FakeTensorRT, refitter: Refitter) -> None:
        super().__init__(trt)
        self._refitter = refitter

    def refit_from_file(self, model: str) -> bool:
        assert Path(model).is_file()
        self._refitter.graph = Path(model)
        return not self._trt.problems


class OptimizationProfile:
    """An IOptimizationProfile."""

    def set_shape(
        self, input: str, min: tuple[int, ...], opt: tuple[int, ...], max: tuple[int, ...]
    ) -> None:
        self.shapes = [min, opt, max]


class Config:
    """An IBuilderConfig."""

    def __init__(self) -> None:
        self.flags = {"tf32"}
        self.limits: dict[str, int] = {}
        self.profiles: list[Any] = []
        self.cache: Any = None

    def set_memory_pool_limit(self, pool: str, pool_size: int) -> None:
        self.limits[pool] = pool_size

    def set_flag(self, flag: str) -> None:
        self.flags.add(flag)

    def clear_flag(self, flag: str) -> None:
        self.flags.discard(flag)

    def add_optimization_profile(self, profile: OptimizationProfile) -> int:
        self.profiles.append(profile.shapes)
        return len(self.profiles) - 1

    def create_timing_cache(self, serialized_timing_cache: bytes) -> Any:
        known = serialized_timing_cache
        return (
            SimpleNamespace(known=known, serialize=lambda: known + b"+") if known != b"?" else None
        )

    def set_timing_cache(self, cache: Any, ignore_mismatch: bool) -> bool:
        if cache.known == b"another GPU" and not ignore_mismatch:
            return False
        self.cache = cache
        return True

    def get_timing_cache(self) -> Any:
        return self.cache


class Builder:
    """A Builder."""

    def __init__(self, trt: FakeTensorRT, log: Any) -> None:
        self._trt, self._log = trt, log

    def create_network(self, flags: int) -> Network:
        assert flags == 1 << FakeTensorRT.NetworkDefinitionCreationFlag.STRONGLY_TYPED
        return Network()

    def create_builder_config(self) -> Config:
        return Config()

    def create_optimization_profile(self) -> OptimizationProfile:
        return OptimizationProfile()

    def build_serialized_network(self, network: Network, config: Config) -> bytes | None:
        assert self._trt._parser() is not None
        self._trt.builds.append(config)
        monitor: Any = config.progress_monitor
        for phase in self._trt.phases:
            monitor.phase_start(phase, None, 1)
            if not monitor.step_complete(phase, 0):
                return None
            monitor.phase_finish(phase)
        if self._trt.no_engine:
            self._log.log(ILogger.Severity.ERROR, "could not find any implementation")
            return None
        second = self._trt.compute(np.zeros((1, 24_000), np.float32))
        tensors = {"waveform": "float32", **{name: str(x.dtype) for name, x in second.items()}}
        flags = sorted(config.flags)
        plan = {"profiles": config.profiles, "tensors": tensors, "flags": flags}
        return json.dumps(plan).encode()
