"""MuQ's framing, for the bundles and contracts that tests make."""

from muqrt.runtime.bundle.manifest import Framing


def muq_framing(window_samples: int, **changes: int) -> Framing:
    """The framing of a MuQ whose windows have this many samples, with other lengths changed."""
    lengths = {
        "sample_rate_hz": 24_000,
        "hop_samples": 240,
        "step_samples": 960,
        "minimum_samples": 1_025,
    }
    return Framing(**lengths | changes, window_samples=window_samples)
