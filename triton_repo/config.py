"""Triton's ``config.pbtxt``: from validated dataclasses through protobuf, never from templates.

Everything in it is understood by the C++ onnxruntime backend, which looks its own parameters up
by name and never sees the ``muqrt.*`` ones.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field, NonNegativeInt, PositiveInt, TypeAdapter, model_validator
from pydantic.dataclasses import dataclass

from ..errors import BundleError
from ..runtime.bundle import Framing, TensorSpec, check_tags
from ..runtime.tagging import Tagging
from ..runtime.tokens import Tokenizer, check_tokens
from .extras import server_extra

MODEL_FILENAME = "model.onnx"
MODEL_NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9_.-]*$"
_MESSAGES = "tritonclient.grpc.model_config_pb2"
_TEXT_FORMAT = "google.protobuf.text_format"
_SPECS = TypeAdapter(list[TensorSpec])


@dataclass(frozen=True)
class ServingOptions:
    """How the server batches, queues and runs a model.

    ``threads`` are ONNX Runtime's intra-operator threads of each instance; its own choice (the
    physical cores) when None. A request that finds ``max_queue_size`` others waiting, or waits
    longer than ``queue_timeout_us``, is rejected as UNAVAILABLE.
    """

    max_batch_size: PositiveInt = 4
    preferred_batch_sizes: tuple[PositiveInt, ...] = ()
    max_queue_delay_us: NonNegativeInt = 2_000
    max_queue_size: PositiveInt = 64
    queue_timeout_us: PositiveInt = 120_000_000
    instances: PositiveInt = 1
    threads: PositiveInt | None = None

    @model_validator(mode="after")
    def _preferences_can_be_met(self) -> "ServingOptions":
        if any(size > self.max_batch_size for size in self.preferred_batch_sizes):
            raise ValueError(
                f"preferred batch sizes {list(self.preferred_batch_sizes)} exceed the largest "
                f"batch, {self.max_batch_size}"
            )
        return self


@dataclass(frozen=True)
class Contract:
    """What a client must know of the served artefact; travels as ``muqrt.*`` parameters.

    Triton's own configuration has no names for dynamic dimensions, so the tensors travel whole.
    """

    framing: Framing
    level: NonNegativeInt
    precision: str
    artefact_sha256: str
    source: str
    inputs: list[TensorSpec]
    outputs: list[TensorSpec]
    tagging: Tagging | None = None
    tokenizer: Tokenizer | None = None

    @model_validator(mode="after")
    def _outputs_are_explained(self) -> "Contract":
        check_tags(self.outputs, self.tagging)
        check_tokens(self.outputs, self.tokenizer)
        return self

    def to_parameters(self) -> dict[str, str]:
        """The contract as a string map."""
        parameters = {
            "muqrt.framing": self.framing.model_dump_json(),
            "muqrt.level": str(self.level),
            "muqrt.precision": self.precision,
            "muqrt.artefact_sha256": self.artefact_sha256,
            "muqrt.source": self.source,
            "muqrt.inputs": _SPECS.dump_json(self.inputs).decode(),
            "muqrt.outputs": _SPECS.dump_json(self.outputs).decode(),
        }
        if self.tagging is not None:
            parameters["muqrt.tagging"] = self.tagging.model_dump_json()
        if self.tokenizer is not None:
            parameters["muqrt.tokenizer"] = self.tokenizer.model_dump_json()
        return parameters

    @classmethod
    def from_parameters(cls, parameters: Mapping[str, str]) -> "Contract":
        """The contract in a model's parameters.

        Raises:
            KeyError: a parameter is missing: the model is not one that muqrt wrote.
            ValueError: a parameter is not what muqrt writes.
        """
        tagging, tokenizer = map(parameters.get, ("muqrt.tagging", "muqrt.tokenizer"))
        return cls(
            framing=Framing.model_validate_json(parameters["muqrt.framing"]),
            level=int(parameters["muqrt.level"]),
            precision=parameters["muqrt.precision"],
            artefact_sha256=parameters["muqrt.artefact_sha256"],
            source=parameters["muqrt.source"],
            inputs=_SPECS.validate_json(parameters["muqrt.inputs"]),
            outputs=_SPECS.validate_json(parameters["muqrt.outputs"]),
            tagging=None if tagging is None else Tagging.model_validate_json(tagging),
            tokenizer=None if tokenizer is None else Tokenizer.model_validate_json(tokenizer),
        )


@dataclass(frozen=True)
class ModelConfig:
    """One model's ``config.pbtxt``."""

    name: Annotated[str, Field(pattern=MODEL_NAME_PATTERN)]
    contract: Contract
    options: ServingOptions = ServingOptions()
    kind: Literal["KIND_CPU", "KIND_AUTO"] = "KIND_AUTO"
    backend: Literal["onnxruntime"] = "onnxruntime"

    def to_protobuf(self) -> Any:
        """The configuration as ``tritonclient.grpc.model_config_pb2.ModelConfig``.

        Raises:
            BundleError: a tensor has no batch dimension, or a dtype Triton has no name for.
        """
        options = self.options
        policy = {
            "timeout_action": "REJECT",
            "default_timeout_microseconds": options.queue_timeout_us,
            "max_queue_size": options.max_queue_size,
        }
        batching = {
            "preferred_batch_size": options.preferred_batch_sizes,
            "max_queue_delay_microseconds": options.max_queue_delay_us,
            "default_queue_policy": policy,
        }
        return server_extra(_MESSAGES).ModelConfig(
            name=self.name,
            backend=self.backend,
            default_model_filename=MODEL_FILENAME,
            max_batch_size=options.max_batch_size,
            input=[_tensor(spec) for spec in self.contract.inputs],
            output=[_tensor(spec) for spec in self.contract.outputs],
            version_policy={"latest": {"num_versions": 1}},
            dynamic_batching=batching,
            instance_group=[{"kind": self.kind, "count": options.instances}],
            model_warmup=[self._warm_up()],
            parameters={k: {"string_value": v} for k, v in self._parameters().items()},
        )

    def to_text(self) -> str:
        """The configuration as the text of ``config.pbtxt``."""
        return str(server_extra(_TEXT_FORMAT).MessageToString(self.to_protobuf()))

    def _parameters(self) -> dict[str, str]:
        own = self.contract.to_parameters()
        if self.options.threads is not None:
            own["intra_op_thread_count"] = str(self.options.threads)
        return own

    def _warm_up(self) -> dict[str, Any]:
        # The first run allocates; with a warm-up no client waits for it.
        window = self.contract.framing.window_samples
        inputs = {}
        for spec in self.contract.inputs:
            tensor = _tensor(spec)
            dims = [window if size < 0 else size for size in tensor["dims"]]
            inputs[spec.name] = {"data_type": tensor["data_type"], "dims": dims, "zero_data": True}
        return {"name": "one window of silence", "batch_size": 1, "inputs": inputs}


def parse_config(text: str) -> Any:
    """The protobuf message in the text of a ``config.pbtxt``.

    Raises:
        ValueError: the text is not a model configuration.
    """
    message = server_extra(_MESSAGES).ModelConfig()
    text_format = server_extra(_TEXT_FORMAT)
    try:
        return text_format.Parse(text, message)
    except text_format.ParseError as error:
        raise ValueError(str(error)) from error


def parameters_of(message: Any) -> dict[str, str]:
    """The string parameters of a configuration message."""
    return {key: value.string_value for key, value in message.parameters.items()}


def _tensor(spec: TensorSpec) -> dict[str, Any]:
    if len(spec.shape) < 2 or not isinstance(spec.shape[0], str):
        raise BundleError(
            f"{spec.name} has shape {spec.shape}: its first dimension must be a dynamic batch, "
            "followed by at least one other, for the server to batch it. Export the bundle again."
        )
    dtype = server_extra("tritonclient.utils").np_to_triton_dtype(np.dtype(spec.dtype))
    if dtype is None:
        raise BundleError(f"{spec.name} is {spec.dtype}, which Triton has no name for.")
    return {
        "name": spec.name,
        "data_type": "TYPE_STRING" if dtype == "BYTES" else f"TYPE_{dtype}",
        "dims": [-1 if isinstance(size, str) else size for size in spec.shape[1:]],
    }
