"""How the server batches, queues and runs a model: the options of ``muqrt repository``."""

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

from ...common.validation import first_problem
from ...errors import UsageError
from .limits import Limits

# A batch dimension, a queue and a version of Triton's are signed 32-bit numbers.
_MOST = 2**31 - 1
_Count = Annotated[PositiveInt, Field(le=_MOST)]
_Seconds = Annotated[FiniteFloat, Field(gt=0, le=86_400)]
_Options = TypeVar("_Options")


@dataclass(frozen=True)
class QueuePolicy:
    """The bounds of a queue; a request beyond them is rejected as UNAVAILABLE.

    Attributes:
        max_size: how many requests may wait; no bound when None.
        timeout_us: how long a request may wait, in microseconds; no bound when None.
    """

    max_size: _Count | None = None
    timeout_us: PositiveInt | None = None


@dataclass(frozen=True)
class RateLimit:
    """Named, counted resources that an instance takes while it runs.

    Takes effect when several models name the same resource and the server runs with
    ``muqrt serve --rate-limit``. A resource has as many units as its largest user takes. An
    instance of priority 2 runs half as often as one of priority 1.
    """

    resources: Mapping[str, _Count]
    priority: _Count = 1


@dataclass(frozen=True)
class ServingOptions:
    """How the server batches, queues and runs a model.

    Attributes:
        outputs: the outputs to serve; all but the latents when empty.
        max_batch_size: the largest batch in one run.
        preferred_batch_sizes: batches of these sizes run without waiting for more requests.
        max_queue_delay_us: how long a request waits for others to share its batch.
        max_queue_size, queue_timeout_us: a request is rejected as UNAVAILABLE if this many others
            wait, or if it waits longer; None means no bound.
        bulk_queue: a second queue, for requests of priority 2; all others overtake them. None: one
            queue for all.
        lengths_seconds: lengths of the waveforms that clients send, warmed up at the start. Only
            equal lengths share a batch. When empty: the model's window and the tags' window.
        instances: copies of the model, on each GPU if it runs on GPUs.
        gpus: numbers of the GPUs to run on; the server chooses when empty.
        threads: CPU threads of each instance; one for each physical core when None.
        version: number of the model's version.
        response_cache: answer repeated audio from the server's cache.
        cuda_graphs: replay recorded CUDA graphs for these lengths (TensorRT only).
        rate_limit: resources that it shares with other models; none when None.
        limits: the largest request that is answered.
        fixed_length: take waveforms of exactly the one length that is warmed up; the server itself
            refuses others, with any backend.

    Raises:
        UsageError: a preferred batch size exceeds the largest batch.
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
    limits: Limits = Limits()
    fixed_length: bool = False

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
        """The bounds of the first queue."""
        return QueuePolicy(self.max_queue_size, self.queue_timeout_us)

    @property
    def may_stall(self) -> bool:
        """Whether Triton may notice up to half a second late that the model is idle.

        With bounds or priorities Triton gives a request only to an instance that waits for one, and
        looks for such instances only when the queue changes, or every 500 ms
        (``WaitForPayloadSlotAvailable`` of its core's ``dynamic_batch_scheduler.cc``).
        """
        return self.queue != QueuePolicy() or self.bulk_queue is not None


def with_given(options: _Options, given: Mapping[str, Any]) -> _Options:
    """A dataclass of options with some values replaced; a value of None was not given.

    Raises:
        UsageError: a value is out of range, or values contradict each other.
    """
    values = {name: value for name, value in given.items() if value is not None}
    try:
        return replace(options, **values)  # type: ignore[type-var]
    except ValidationError as error:
        raise UsageError(first_problem(error)) from None


# None bounds its queue: see ``ServingOptions.may_stall``.
PROFILES = {
    # For users who wait for each answer: no request waits for others.
    "latency": ServingOptions(max_batch_size=4, max_queue_delay_us=0),
    # A music library on GPUs: full batches, and a second instance whose copies to and from the GPU
    # overlap the first one's computing.
    "throughput": ServingOptions(max_batch_size=32, max_queue_delay_us=50_000, instances=2),
    # CPUs: one instance on all cores, and a delay that fills its batches (docs/how-to/serve.md
    # has the figures).
    "cpu": ServingOptions(max_batch_size=4, max_queue_delay_us=20_000),
}
