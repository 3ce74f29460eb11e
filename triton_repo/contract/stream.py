"""``config.pbtxt`` of the model that tags live streams.

It is a model in Python. The server could keep the state itself, for a graph in its C++ backends
(implicit state), but then chunks and state are tensors of one shape each: no resampler, no chunks
of other lengths, no shorter windows at a stream's beginning. And little could be won:
of the 41 ms from a hop's request to its answer (muq-mini, fp32, one core) the engine takes 37 to
39, and a request in which no hop ends takes 0.6 ms, gRPC and the server's scheduling included.
"""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field, PositiveInt, TypeAdapter, model_validator
from pydantic.dataclasses import dataclass

from ...runtime.bundle.manifest import Framing
from ...runtime.bundle.record import Record
from ...runtime.bundle.tagging import TAGS, Tagging
from ...runtime.streaming.stream import HOP_SECONDS, SlidingConfig
from .config import MODEL_NAME_PATTERN, model_config

WAVEFORM, PCM, RATE, CHUNK_INDEX = "waveform", "pcm", "rate_hz", "chunk_index"
SECONDS = "seconds"
_MOST_STREAMS = 1 << 16
# The server remembers the ids of refused streams too, until they have been idle. Were there no room
# for another, it would let the client wait instead of having it refused. Each takes 0.7 KB.
_REFUSED_IDS = 1 << 14
# By how much the model, whose message is clearer, is the first to find a stream idle. Not more: a
# server that stops waits for the streams it believes in.
_GRACE_SECONDS = 2.0
_MOST_CHUNKS = 64  # that are taken at once

Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]


@dataclass(frozen=True)
class StreamOptions:
    """How streams are served.

    Attributes:
        max_streams: how many may be live at once.
        idle_seconds: a stream of which nothing comes for so long is dropped.
        hop_seconds: from an answer to the next.
        window_seconds: how much audio an answer is for; what the tags are made for when None.
        instances: how many runs of the engine at the same time.
        threads: of each run; all physical cores when None.
    """

    max_streams: Annotated[PositiveInt, Field(le=_MOST_STREAMS)] = 64
    idle_seconds: Annotated[Seconds, Field(le=86_400)] = 30.0
    hop_seconds: Seconds = HOP_SECONDS
    window_seconds: Seconds | None = None
    instances: PositiveInt = 1
    threads: PositiveInt | None = None

    @model_validator(mode="after")
    def _a_live_stream_is_not_idle(self) -> "StreamOptions":
        if self.idle_seconds < 3 * self.hop_seconds:
            raise ValueError(
                f"streams idle for {self.idle_seconds:g} s would be dropped, but one whose chunks "
                f"are hops is silent for {self.hop_seconds:g} s at a time; allow 3 hops at least"
            )
        return self


_OPTIONS = TypeAdapter(StreamOptions)


class _Lengths(Record):
    """Those of a ``SlidingConfig``."""

    hop_samples: PositiveInt
    window_steps: PositiveInt
    first_steps: PositiveInt


@dataclass(frozen=True)
class StreamContract:
    """What a client must know of the served model; travels as ``muqrt.*`` parameters."""

    tagging: Tagging
    sliding: SlidingConfig
    precision: str
    artefact_sha256: str
    source: str

    def to_parameters(self) -> dict[str, str]:
        """The contract as a string map."""
        lengths = _Lengths(**{each: getattr(self.sliding, each) for each in _Lengths.model_fields})
        return {
            "muqrt.tagging": self.tagging.model_dump_json(),
            "muqrt.framing": self.sliding.framing.model_dump_json(),
            "muqrt.sliding": lengths.model_dump_json(),
            "muqrt.precision": self.precision,
            "muqrt.artefact_sha256": self.artefact_sha256,
            "muqrt.source": self.source,
        }

    @classmethod
    def from_parameters(cls, parameters: Mapping[str, str]) -> "StreamContract":
        """The contract in a model's parameters.

        Raises:
            KeyError: a parameter is missing: the model is not one that muqrt wrote.
            ValueError: a parameter is not what muqrt writes.
        """
        lengths = _Lengths.model_validate_json(parameters["muqrt.sliding"])
        framing = Framing.model_validate_json(parameters["muqrt.framing"])
        return cls(
            tagging=Tagging.model_validate_json(parameters["muqrt.tagging"]),
            sliding=SlidingConfig(framing, **lengths.model_dump()),
            precision=parameters["muqrt.precision"],
            artefact_sha256=parameters["muqrt.artefact_sha256"],
            source=parameters["muqrt.source"],
        )


@dataclass(frozen=True)
class StreamConfig:
    """The model's ``config.pbtxt``."""

    name: Annotated[str, Field(pattern=MODEL_NAME_PATTERN)]
    contract: StreamContract
    options: StreamOptions = StreamOptions()

    def to_protobuf(self) -> Any:
        """The configuration as ``tritonclient.grpc.model_config_pb2.ModelConfig``."""
        options = self.options
        parameters = {
            **self.contract.to_parameters(),
            "muqrt.options": _OPTIONS.dump_json(options).decode(),
        }
        return model_config(
            parameters,
            name=self.name,
            backend="python",
            # Most chunks end no hop, so that many of them are one run of the engine.
            max_batch_size=min(options.max_streams, _MOST_CHUNKS),
            input=[
                _input(WAVEFORM, "TYPE_FP32", -1),
                _input(PCM, "TYPE_INT16", -1),
                _input(RATE, "TYPE_INT32", 1),
                _input(CHUNK_INDEX, "TYPE_INT64", 1),
            ],
            output=[
                {
                    "name": TAGS,
                    "data_type": "TYPE_FP32",
                    "dims": [-1, len(self.contract.tagging.vocabulary)],
                },
                {"name": SECONDS, "data_type": "TYPE_FP64", "dims": [-1, 2]},
            ],
            version_policy={"latest": {"num_versions": 1}},
            # The streams' state lives in the instance.
            instance_group=[{"kind": "KIND_CPU", "count": 1}],
            sequence_batching={
                "max_sequence_idle_microseconds": round(
                    1e6 * (options.idle_seconds + _GRACE_SECONDS)
                ),
                # Never read: the request knows. But the server's Python backend refuses requests
                # without any input, as an end may be.
                "control_input": [_control("start"), _control("end")],
                "oldest": {"max_candidate_sequences": options.max_streams + _REFUSED_IDS},
            },
        )


def options_of(parameters: Mapping[str, str]) -> StreamOptions:
    """The options in a model's parameters; KeyError or ValueError as for the contract's."""
    return _OPTIONS.validate_json(parameters["muqrt.options"])


def _control(name: str) -> dict[str, Any]:
    kind = f"CONTROL_SEQUENCE_{name.upper()}"
    return {"name": name, "control": [{"kind": kind, "int32_false_true": [0, 1]}]}


def _input(name: str, dtype: str, size: int) -> dict[str, Any]:
    # Ragged: chunks of different lengths share a batch.
    return {
        "name": name,
        "data_type": dtype,
        "dims": [size],
        "optional": True,
        "allow_ragged_batch": True,
    }
