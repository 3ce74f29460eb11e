"""How the server batches, queues and runs a model: what ``muqrt repository`` can be told."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Any, TypeVar

from pydantic import (
    Field,
    FiniteFloat,
    NonNegativeInt,
    PositiveInt,
    ValidationError,
    model_validator,
)
from pydantic.dataclasses import dataclass

from ...errors import UsageError

# A batch dimension, a queue and a version of Triton's are signed 32-bit numbers.
_MOST = 2**31 - 1
_Count = Annotated[PositiveInt, Field(le=_MOST)]
_Seconds = Annotated[FiniteFloat, Field(gt=0, le=86_400)]
_Options = TypeVar("_Options")


@dataclass(frozen=True)
class QueuePolicy:
    """The bound of a queue: who finds it full, or waits too long, is rejected as UNAVAILABLE.

    None: there is no such bound.
    """

    max_size: _Count | None = None
    timeout_us: PositiveInt | None = None


@dataclass(frozen=True)
class RateLimit:
    """What an instance takes of named, counted resources while it runs.

    It has an effect where several models name the same resource, and the server was started with
    ``muqrt serve --rate-limit``. There are as many of a resource as its largest taker takes. An
    instance of priority 2 is given half as many turns as one of priority 1.
    """

    resources: Mapping[str, _Count]
    priority: _Count = 1


@dataclass(frozen=True)
class ServingOptions:
    """How the server batches, queues and runs a model.

    Attributes:
        outputs: which of the artefact's outputs to serve; all of them when empty.
        max_batch_size: the largest batch in one run.
        preferred_batch_sizes: a batch of such a size waits for no further requests.
        max_queue_delay_us: how long a request waits for others to be batched with.
        max_queue_size, queue_timeout_us: a request that finds so many others waiting, or waits
            longer, is rejected as UNAVAILABLE. None: it waits until its sender gives up.
        bulk_queue: a queue behind the first one, for requests of priority 2; those of priority 1,
            or without one, overtake them. None: one queue for all.
        lengths_seconds: of the waveforms worth sending. Only equal lengths share a batch, and
            these are warmed up. When empty: the window, and the window that tags are of.
        instances: copies of the model; on every GPU, if it runs on GPUs.
        gpus: which GPUs to run on; the server's choice when empty.
        threads: ONNX Runtime's intra-operator threads of each instance; its own choice (the
            physical cores) when None.
        version: the number of the model's version, by which clients and metrics tell it apart.
        response_cache: answer audio that was seen before from memory.
        cuda_graphs: replay recorded launches for the lengths above, in TensorRT.
        rate_limit: what it shares with other models; nothing when None.

    Raises:
        UsageError: a preferred batch size is above the largest.
    """

    outputs: tuple[str, ...] = ()
    max_batch_size: _Count = 4
    preferred_batch_sizes: tuple[PositiveInt, ...] = ()
    max_queue_delay_us: NonNegativeInt = 2_000
    max_queue_size: _Count | None = None
    queue_timeout_us: PositiveInt | None = None
    bulk_queue: QueuePolicy | None = None
    lengths_seconds: tuple[_Seconds, ...] = ()
    instances: _Count = 1
    gpus: tuple[NonNegativeInt, ...] = ()
    threads: PositiveInt | None = None
    version: _Count = 1
    response_cache: bool = False
    cuda_graphs: bool = False
    rate_limit: RateLimit | None = None

    @model_validator(mode="after")
    def _preferences_can_be_met(self) -> "ServingOptions":
        if any(size > self.max_batch_size for size in self.preferred_batch_sizes):
            raise UsageError(
                f"preferred batch sizes {list(self.preferred_batch_sizes)} exceed the largest "
                f"batch, {self.max_batch_size}: raise --max-batch-size."
            )
        return self

    @property
    def queue(self) -> QueuePolicy:
        """The first queue's bound."""
        return QueuePolicy(self.max_queue_size, self.queue_timeout_us)

    @property
    def may_stall(self) -> bool:
        """Whether Triton may be half a second late to notice that the model is idle.

        With bounds or priorities it hands a request to an instance that waits for one, and looks
        for one only when something happens to the queue, or every 500 ms
        (``WaitForPayloadSlotAvailable`` of its core's ``dynamic_batch_scheduler.cc``).
        """
        return self.queue != QueuePolicy() or self.bulk_queue is not None


def with_given(options: _Options, given: Mapping[str, Any]) -> _Options:
    """A dataclass of options with the given values in place of its own; None was not given.

    Raises:
        UsageError: values that are out of range, or do not go together.
    """
    values = {name: value for name, value in given.items() if value is not None}
    try:
        return replace(options, **values)  # type: ignore[type-var]
    except ValidationError as error:
        first = error.errors()[0]
        where = " ".join(str(part) for part in first["loc"])
        message = first["msg"].removeprefix("Value error, ")
        raise UsageError(f"{where}: {message}" if where else message) from None


# None bounds its queue: see ``ServingOptions.may_stall``.
PROFILES = {
    # Someone waits for each answer: no request waits for company.
    "latency": ServingOptions(max_batch_size=4, max_queue_delay_us=0),
    # A music library on GPUs: full batches, and a second instance whose copies to and from the GPU
    # overlap the first one's computing.
    "throughput": ServingOptions(max_batch_size=32, max_queue_delay_us=50_000, instances=2),
    # Cores instead of GPUs: one instance that has them all, and the wait that fills its batches
    # (docs/how-to/serve.md has the figures).
    "cpu": ServingOptions(max_batch_size=4, max_queue_delay_us=20_000),
}
