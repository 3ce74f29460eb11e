"""MuQ's framing, for the bundles and contracts that tests make."""

from muqrt.runtime.bundle.manifest import Framing


def muq_framing(window_samples: int) -> Framing:
    """The framing of a MuQ whose windows are of so many samples."""
    return Framing(
        sample_rate_hz=24_000,
        hop_samples=240,
        step_samples=960,
        minimum_samples=1_025,
        window_samples=window_samples,
    )
