"""``config.pbtxt`` of the model that tags live streams.

It is a model in Python. The server could keep the state itself for a graph in its C++ backends
(implicit state), but then chunks and state have one fixed shape: no resampling, no chunks of other
lengths, no shorter windows at the start of a stream. And it would gain little: of the 41 ms from a
hop's request to its answer (muq-mini, fp32, one core) the engine takes 37 to 39, and a request in
which no hop ends takes 0.6 ms, gRPC and the server's scheduling included.
"""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field, PositiveInt, TypeAdapter, model_validator
from pydantic.dataclasses import dataclass

from ...runtime.bundle.manifest import Framing
from ...runtime.bundle.record import Record
from ...runtime.bundle.tagging import TAGS, Tagging
from ...runtime.streaming.stream import HOP_SECONDS, SlidingConfig
from .config import MODEL_NAME_PATTERN, ragged_input, scripted_config

WAVEFORM, PCM, RATE, CHUNK_INDEX = "waveform", "pcm", "rate_hz", "chunk_index"
SECONDS, SILENT = "seconds", "silent"
_MOST_STREAMS = 1 << 16
# The server keeps the ids of refused streams too, until they are idle. Without room for them, it
# would let clients wait instead of refusing them. Each takes 0.7 KB.
_REFUSED_IDS = 1 << 14
# How much earlier than the server the model drops an idle stream, because its message is clearer.
# Not more: a server that stops waits for its open streams.
_GRACE_SECONDS = 2.0
_MOST_CHUNKS = 64  # in a batch

Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]


@dataclass(frozen=True)
class StreamOptions:
    """How live streams are served.

    Attributes:
        max_streams: how many streams may be live at once.
        idle_seconds: drop a stream that sends nothing for this long.
        hop_seconds: time from one answer to the next.
        window_seconds: length of the audio in each answer; the tags' window when None.
        instances: how many runs of the engine may overlap.
        threads: CPU threads of each run; one for each physical core when None.
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
    """The lengths in a ``SlidingConfig``."""

    hop_samples: PositiveInt
    window_steps: PositiveInt
    first_steps: PositiveInt


@dataclass(frozen=True)
class StreamContract:
    """What a client must know about the live model; travels as ``muqrt.*`` parameters."""

    tagging: Tagging
    sliding: SlidingConfig
    precision: str
    artefact_sha256: str
    source: str

    def to_parameters(self) -> dict[str, str]:
        """The contract as parameters: strings by name."""
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
        """Read the contract from a model's parameters.

        Raises:
            KeyError: a parameter is missing, so muqrt did not write the model.
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
    """The live model's ``config.pbtxt``."""

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
        return scripted_config(
            parameters,
            name=self.name,
            # Most chunks complete no hop, so large batches cost few runs of the engine.
            max_batch_size=min(options.max_streams, _MOST_CHUNKS),
            input=[
                ragged_input(WAVEFORM, "TYPE_FP32"),
                ragged_input(PCM, "TYPE_INT16"),
                ragged_input(RATE, "TYPE_INT32", 1),
                ragged_input(CHUNK_INDEX, "TYPE_INT64", 1),
            ],
            output=[
                {
                    "name": TAGS,
                    "data_type": "TYPE_FP32",
                    "dims": [-1, len(self.contract.tagging.vocabulary)],
                },
                {"name": SECONDS, "data_type": "TYPE_FP64", "dims": [-1, 2]},
                {"name": SILENT, "data_type": "TYPE_BOOL", "dims": [-1]},
            ],
            sequence_batching={
                "max_sequence_idle_microseconds": round(
                    1e6 * (options.idle_seconds + _GRACE_SECONDS)
                ),
                # Not read, since requests carry the flags too. But the Python backend refuses
                # requests without inputs, and a stream's end may have none.
                "control_input": [_control("start"), _control("end")],
                "oldest": {"max_candidate_sequences": options.max_streams + _REFUSED_IDS},
            },
        )


def options_of(parameters: Mapping[str, str]) -> StreamOptions:
    """Read the options from a model's parameters."""
    return _OPTIONS.validate_json(parameters["muqrt.options"])


def _control(name: str) -> dict[str, Any]:
    kind = f"CONTROL_SEQUENCE_{name.upper()}"
    return {"name": name, "control": [{"kind": kind, "int32_false_true": [0, 1]}]}
