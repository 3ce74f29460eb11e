"""What a benchmark of a model measured."""

from dataclasses import asdict, dataclass
from typing import Any

from ...runtime.bundle.manifest import Bundle
from ..measure.latency import Latency
from .arithmetic import Arithmetic
from .cold_start import ColdStart
from .hops import HopTime
from .library import LibraryTime
from .operators import OperatorTime


@dataclass(frozen=True)
class ModelReport:
    """One run of ``muqrt bench``; ``document`` is its JSON.

    ``device`` is its name, ``price`` an hour's. ``threads`` are those of whatever was measured with
    one number only. ``unavailable`` says which contender did not start, and why. ``size_bytes`` is
    of each contender's files. What was not asked for is empty or None.
    """

    created: str
    device: str
    price: float | None
    command: str
    threads: int
    environment: dict[str, str]
    checkpoint: str
    checkpoint_sha256: str
    artefacts: list[dict[str, Any]]
    unavailable: dict[str, str]
    size_bytes: dict[str, int]
    latencies: list[Latency]
    cold_starts: list[ColdStart]
    operators: list[OperatorTime]
    arithmetic: Arithmetic | None
    hops: list[HopTime]
    library: list[LibraryTime]

    def document(self) -> dict[str, Any]:
        """Everything, raw samples included, in JSON's types."""
        return asdict(self)


def artefact_facts(bundle: Bundle) -> list[dict[str, Any]]:
    """Which artefacts were measured, and whether each is certified."""
    return [
        {
            "name": artefact.name,
            "engine": artefact.engine,
            "precision": artefact.precision,
            "level": artefact.level,
            "sha256": artefact.digest,
            "certified": artefact.certified,
        }
        for artefact in bundle.audio_artefacts
    ]
