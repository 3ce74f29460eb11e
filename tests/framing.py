"""Parts of the bundles and contracts that tests make."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from muqrt.runtime.bundle.manifest import Artefact, Bundle, Framing, Source
from muqrt.runtime.bundle.tagging import Tagging


def muq_framing(window_samples: int, **changes: int) -> Framing:
    """The framing of a MuQ whose windows have this many samples, with other lengths changed."""
    lengths = {
        "sample_rate_hz": 24_000,
        "hop_samples": 240,
        "step_samples": 960,
        "minimum_samples": 1_025,
    }
    return Framing(**lengths | changes, window_samples=window_samples)


def muq_tagging(
    vocabulary: Sequence[str], thresholds: Sequence[float] = (), window_seconds: float = 10.0
) -> Tagging:
    """What the tags of a head mean; every threshold is 0.5 when left out."""
    return Tagging(
        task="tagging",
        vocabulary=list(vocabulary),
        thresholds=list(thresholds) or [0.5] * len(vocabulary),
        window_seconds=window_seconds,
        head_sha256="0" * 64,
    )


def one_artefact(folder: Path, framing: Framing, **facts: Any) -> Bundle:
    """A bundle, not yet saved, whose only artefact is of these facts and has no certificate."""
    artefact = Artefact(**{"precision": "fp32", "target": "cpu", "level": 1} | facts)
    return Bundle(
        created_by="tests",
        source=Source(checkpoint="tests/tiny", sha256="0" * 64, parameters=1),
        architecture={},
        framing=framing,
        artefacts=[artefact],
        folder=folder,
    )
