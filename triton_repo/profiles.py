"""Named serving options to begin from: ``muqrt repository --profile``."""

from .options import ServingOptions

# None bounds its queue: see ``ServingOptions.may_stall``.
PROFILES = {
    # Someone waits for each answer: no request waits for company.
    "latency": ServingOptions(max_batch_size=4, max_queue_delay_us=0),
    # A music library on GPUs: full batches, and a second instance whose copies to and from the GPU
    # overlap the first one's computing.
    "throughput": ServingOptions(max_batch_size=32, max_queue_delay_us=50_000, instances=2),
    # Cores instead of GPUs: one instance that has them all, and the wait that fills its batches
    # (docs/serving.md has the figures).
    "cpu": ServingOptions(max_batch_size=4, max_queue_delay_us=20_000),
}
