"""Triton's ``config.pbtxt``, written from validated dataclasses through protobuf.

The C++ onnxruntime backend understands all of it; it ignores the ``muqrt.*`` parameters.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field, PositiveInt, model_validator
from pydantic.dataclasses import dataclass

from ...common.environment import import_extra
from ...errors import BundleError, UsageError
from ...runtime.bundle.joint import IDS, LATENTS, MASK
from ...runtime.bundle.record import TensorSpec
from ...runtime.bundle.scoring import Scoring
from .artefact import Contract
from .limits import Limits, longest_seconds
from .options import QueuePolicy, ServingOptions

MODEL_FILENAME = "model.onnx"
# What errors say when there is no room, Triton's of a queue and muq_stream's of its streams: Triton
# has no status for it.
QUEUE_IS_FULL, STREAMS_ARE_FULL = "maximum queue size", "too many live streams"
MODEL_NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9_.-]*$"
# A parameter of every model that muqrt writes.
OURS = "muqrt.artefact_sha256"
# A JSON list of ``ModelConfig.lengths``.
LENGTHS = "muqrt.lengths"
_WARM_UP_TOKENS = 16  # of a short text
_MESSAGES = "tritonclient.grpc.model_config_pb2"
_TEXT_FORMAT = "google.protobuf.text_format"


@dataclass(frozen=True)
class ModelConfig:
    """One model's ``config.pbtxt``.

    Attributes:
        filename: name of the graph or plan in the version's folder.
        plans: for TensorRT, the file name by compute capability (9.0).
        memory_bytes: memory of the machine that serves, for the default limits; None where it is
            not known.

    Raises:
        UsageError: an option does not fit the artefact.
    """

    name: Annotated[str, Field(pattern=MODEL_NAME_PATTERN)]
    contract: Contract
    options: ServingOptions = ServingOptions()
    kind: Literal["KIND_CPU", "KIND_GPU", "KIND_AUTO"] = "KIND_AUTO"
    backend: Literal["onnxruntime", "tensorrt", "python"] = "onnxruntime"
    filename: str = MODEL_FILENAME
    plans: Mapping[str, str] = Field(default_factory=dict)
    memory_bytes: PositiveInt | None = None

    @model_validator(mode="after")
    def _options_go_with_the_artefact(self) -> "ModelConfig":
        options, framing = self.options, self.contract.framing
        if options.cuda_graphs and self.backend != "tensorrt":
            raise UsageError("CUDA graphs need TensorRT: leave out --cuda-graphs.")
        if options.threads is not None and self.backend == "tensorrt":
            raise UsageError("threads are for engines on the CPU: leave out --threads.")
        if options.gpus and self.kind == "KIND_CPU":
            raise UsageError(
                "the artefact is for the CPU: leave out --gpu, or export with --target any."
            )
        # The cache's key is the bytes of the inputs, without their shape and the outputs asked for.
        if options.response_cache and len(self.contract.outputs) > 1:
            names = ", ".join(spec.name for spec in self.contract.outputs)
            raise UsageError(
                "the server's response cache would answer a request for one output with another. "
                f"Serve one of {names} (--outputs)."
            )
        if options.response_cache and options.max_batch_size > 1:
            raise UsageError(
                "the server's response cache mistakes two waveforms for one of twice the length: "
                "--response-cache needs --max-batch-size 1."
            )
        if options.lengths_seconds and min(self.lengths) < framing.minimum_samples:
            raise UsageError(
                f"a length of {min(options.lengths_seconds):g} s; the model needs at least "
                f"{framing.minimum_samples / framing.sample_rate_hz:.3f} s."
            )
        if options.fixed_length and len(self.lengths) != 1:
            raise UsageError("fixed_length needs one length: choose it with --length-seconds.")
        self._check_limits()
        return self

    def _check_limits(self) -> None:
        limits, joint = self.options.limits, self.contract.joint
        rate_hz = self.contract.framing.sample_rate_hz
        longest = max(self.lengths, default=0) / rate_hz
        if limits.max_seconds is not None and limits.max_seconds < longest:
            raise UsageError(
                f"--max-seconds {limits.max_seconds:g} is less than the {longest:g} s that clients "
                "are expected to send: raise it, or give their lengths with --length-seconds."
            )
        most = joint.max_tokens if joint is not None and not self.lengths else None
        if limits.max_tokens is not None and most is not None and limits.max_tokens > most:
            raise UsageError(
                f"limits.max_tokens is {limits.max_tokens}; the model takes {most} at most."
            )

    @property
    def lengths(self) -> list[int]:
        """The lengths of waveforms to warm up, in samples, ascending; empty for a text tower."""
        framing, tagging = self.contract.framing, self.contract.tagging
        names = {spec.name for spec in self.contract.outputs}
        if self.contract.inputs == [IDS, MASK]:
            return []
        if chosen := self.options.lengths_seconds:
            return sorted({round(seconds * framing.sample_rate_hz) for seconds in chosen})
        lengths = set() if names == {LATENTS} else {framing.window_samples}
        if self.contract.joint is not None:
            lengths.add(self.contract.joint.clip_samples)
        if tagging is not None:
            lengths.add(framing.whole_steps(tagging.window_seconds))
        scoring = self.contract.meaning(Scoring)
        if scoring is not None and scoring.window_seconds != "whole":
            lengths.add(framing.whole_steps(scoring.window_seconds))
        return sorted(lengths)

    @property
    def limits(self) -> Limits:
        """The options' limits, with the defaults for this model and machine."""
        limits, framing, joint = self.options.limits, self.contract.framing, self.contract.joint
        if not self.lengths:
            most = limits.max_tokens or (joint.max_tokens if joint is not None else None)
            return replace(limits, max_tokens=most)
        if limits.max_seconds is not None:
            return limits
        window, usual = (
            samples / framing.sample_rate_hz
            for samples in (framing.window_samples, max(self.lengths))
        )
        most_seconds = longest_seconds(window, usual, self.options.instances, self.memory_bytes)
        return replace(limits, max_seconds=most_seconds)

    def to_protobuf(self) -> Any:
        """The configuration as ``tritonclient.grpc.model_config_pb2.ModelConfig``."""
        options = self.options
        return model_config(
            self._parameters(),
            name=self.name,
            backend=self.backend,
            default_model_filename=self.filename,
            cc_model_filenames=self.plans,
            max_batch_size=options.max_batch_size,
            input=[self._input(spec) for spec in self.contract.inputs],
            output=[_tensor(spec) for spec in self.contract.outputs],
            # Only this version: the contract does not describe the others.
            version_policy={"specific": {"versions": [options.version]}},
            dynamic_batching=self._batching(),
            instance_group=[self._instances()],
            model_warmup=[self._warm_up(size) for size in self.lengths or [_WARM_UP_TOKENS]],
            response_cache={"enable": True} if options.response_cache else None,
            optimization={"cuda": self._graphs()} if options.cuda_graphs else None,
        )

    def _input(self, spec: TensorSpec) -> dict[str, Any]:
        tensor = _tensor(spec)
        if self.options.fixed_length:
            tensor["dims"] = [size if size > 0 else self.lengths[0] for size in tensor["dims"]]
        return tensor

    def _parameters(self) -> dict[str, str]:
        own = {
            **self.contract.to_parameters(),
            **self.limits.to_parameters("max_seconds" if self.lengths else "max_tokens"),
            LENGTHS: json.dumps(self.lengths),
        }
        if self.backend == "onnxruntime":
            # It would keep 25 KB for each length of a waveform that ever came, and gains nothing.
            own["enable_mem_pattern"] = "0"
        if self.options.threads is not None:
            own["intra_op_thread_count"] = str(self.options.threads)
        return own

    def _batching(self) -> dict[str, Any]:
        options = self.options
        batching: dict[str, Any] = {
            "preferred_batch_size": options.preferred_batch_sizes,
            "max_queue_delay_microseconds": options.max_queue_delay_us,
        }
        if options.queue != QueuePolicy():
            batching["default_queue_policy"] = _policy(options.queue)
        if options.bulk_queue is not None:
            batching["priority_levels"] = 2
            batching["default_priority_level"] = 1
            batching["priority_queue_policy"] = {2: _policy(options.bulk_queue)}
        return batching

    def _instances(self) -> dict[str, Any]:
        options = self.options
        group: dict[str, Any] = {
            "kind": "KIND_GPU" if options.gpus else self.kind,
            "count": options.instances,
            "gpus": options.gpus,
        }
        if options.rate_limit is not None:
            limit = options.rate_limit
            resources = [{"name": name, "count": n} for name, n in limit.resources.items()]
            group["rate_limiter"] = {"resources": resources, "priority": limit.priority}
        return group

    def _warm_up(self, size: int) -> dict[str, Any]:
        # The first run of a length allocates memory and chooses kernels.
        seconds = size / self.contract.framing.sample_rate_hz
        inputs = {
            name: {"data_type": data_type, "dims": dims, "zero_data": True}
            for name, data_type, dims in self._input_shapes(size)
        }
        name = f"{seconds:g} s of silence" if self.lengths else f"{size} tokens of nothing"
        return {"name": name, "batch_size": 1, "inputs": inputs}

    def _graphs(self) -> dict[str, Any]:
        # No lower bounds: with them Triton runs other shapes over uninitialised memory.
        batches = sorted({1, *self.options.preferred_batch_sizes, self.options.max_batch_size})
        shapes = [
            {name: {"dim": dims} for name, _, dims in self._input_shapes(samples)}
            for samples in self.lengths
        ]
        specs = [{"batch_size": batch, "input": shape} for batch in batches for shape in shapes]
        return {"graphs": True, "graph_spec": specs}

    def _input_shapes(self, length: int) -> Iterator[tuple[str, str, list[int]]]:
        """Each input's name, type and dimensions without the batch, for this length."""
        for spec in self.contract.inputs:
            tensor = _tensor(spec)
            dims = [length if size < 0 else size for size in tensor["dims"]]
            yield spec.name, tensor["data_type"], dims


def model_config(parameters: Mapping[str, str], **fields: Any) -> Any:
    """A ``tritonclient.grpc.model_config_pb2.ModelConfig``."""
    strings = {key: {"string_value": value} for key, value in parameters.items()}
    return import_extra("server", _MESSAGES).ModelConfig(parameters=strings, **fields)


def scripted_config(parameters: Mapping[str, str], **fields: Any) -> Any:
    """The ``ModelConfig`` of a model in Python, whose only instance has the state."""
    return model_config(
        parameters,
        backend="python",
        version_policy={"latest": {"num_versions": 1}},
        instance_group=[{"kind": "KIND_CPU", "count": 1}],
        **fields,
    )


def ragged_input(
    name: str, data_type: str, size: int = -1, optional: bool = True
) -> dict[str, Any]:
    """An input whose length may differ between the requests of a batch."""
    return {
        "name": name,
        "data_type": data_type,
        "dims": [size],
        "optional": optional,
        "allow_ragged_batch": True,
    }


def as_text(message: Any) -> str:
    """A configuration message as the text of ``config.pbtxt``."""
    return str(import_extra("server", _TEXT_FORMAT).MessageToString(message))


def parse_config(text: str) -> Any:
    """The protobuf message in the text of a ``config.pbtxt``.

    Raises:
        ValueError: the text is not a model configuration.
    """
    message = import_extra("server", _MESSAGES).ModelConfig()
    text_format = import_extra("server", _TEXT_FORMAT)
    try:
        return text_format.Parse(text, message)
    except text_format.ParseError as error:
        raise ValueError(str(error)) from error


def parameters_of(message: Any) -> dict[str, str]:
    """The string parameters of a configuration message."""
    return {key: value.string_value for key, value in message.parameters.items()}


def _policy(queue: QueuePolicy) -> dict[str, Any]:
    # In Triton 0 means no bound.
    return {
        "timeout_action": "REJECT",
        "default_timeout_microseconds": queue.timeout_us or 0,
        "max_queue_size": queue.max_size or 0,
    }


def _tensor(spec: TensorSpec) -> dict[str, Any]:
    if len(spec.shape) < 2 or not isinstance(spec.shape[0], str):
        raise BundleError(
            f"{spec.name} has shape {spec.shape}: its first dimension must be a dynamic batch, "
            "followed by at least one other, for the server to batch it. Export the bundle again."
        )
    dtype = import_extra("server", "tritonclient.utils").np_to_triton_dtype(np.dtype(spec.dtype))
    if dtype is None:
        raise BundleError(f"{spec.name} is {spec.dtype}, which Triton has no name for.")
    return {
        "name": spec.name,
        "data_type": "TYPE_STRING" if dtype == "BYTES" else f"TYPE_{dtype}",
        "dims": [-1 if isinstance(size, str) else size for size in spec.shape[1:]],
    }
