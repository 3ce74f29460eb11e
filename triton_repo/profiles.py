"""Named serving options to begin from: ``muqrt repository --profile``."""

from .options import QueuePolicy, ServingOptions

PROFILES = {
    # Someone waits for each answer: no request waits for company, and who cannot be answered soon
    # is told at once. Bulk work goes behind, and waits as long as it must.
    "latency": ServingOptions(
        max_batch_size=4,
        max_queue_delay_us=0,
        max_queue_size=16,
        queue_timeout_us=5_000_000,
        bulk_queue=QueuePolicy(max_size=256, timeout_us=600_000_000),
    ),
    # A music library on GPUs: full batches, a long queue, and a second instance whose copies to
    # and from the GPU overlap the first one's computing.
    "throughput": ServingOptions(
        max_batch_size=32,
        max_queue_delay_us=50_000,
        max_queue_size=512,
        queue_timeout_us=600_000_000,
        instances=2,
    ),
    # Cores instead of GPUs: one instance that has them all, and the wait that fills its batches
    # (docs/serving.md has the figures).
    "cpu": ServingOptions(
        max_batch_size=4,
        max_queue_delay_us=20_000,
        max_queue_size=64,
        queue_timeout_us=120_000_000,
        instances=1,
    ),
}
