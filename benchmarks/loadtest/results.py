"""What a load test measured."""

from dataclasses import asdict, dataclass
from typing import Any

from ...errors import MissingDependencyError
from .figures import Figures, Stretch
from .watch import Sample

# How the figures read: name, and how to write the value.
_LABELS = {
    "churn_seconds": ("seconds that it took", ",.0f"),
    "streams_opened": ("streams opened", ",.0f"),
    "streams_vanished": ("of them vanished without END", ",.0f"),
    "streams_refused": ("streams refused", ",.0f"),
    "refusals": ("refusals, tried again", ",.0f"),
    "slots_lost": ("streams still live afterwards", ",.0f"),
    "errors": ("errors", ",.0f"),
    "audio_seconds": ("audio, s", ",.0f"),
    "hops": ("hops answered", ",.0f"),
    "hops_unanswered": ("hops not answered", ",.0f"),
    "latency_p50_ms": ("latency p50, ms", ".1f"),
    "latency_p95_ms": ("latency p95, ms", ".1f"),
    "latency_p99_ms": ("latency p99, ms", ".1f"),
    "latency_max_ms": ("latency, worst, ms", ".1f"),
    "missed_deadlines": ("missed deadlines", ",.0f"),
    "missed_before_arrival": ("of them missed by the network alone", ",.0f"),
    "service_p50_ms": ("from arrival p50, ms", ".1f"),
    "service_p95_ms": ("from arrival p95, ms", ".1f"),
    "service_p99_ms": ("from arrival p99, ms", ".1f"),
    "service_max_ms": ("from arrival, worst, ms", ".1f"),
    "real_time_factor": ("engine's real-time factor", ".4f"),
    "core_seconds_per_second": ("core seconds for a second of audio", ".4f"),
    "cpu_cores": ("cores busy", ".2f"),
    "rss_first_mb": ("resident memory at first, MB", ",.1f"),
    "rss_half_way_mb": ("half-way, MB", ",.1f"),
    "rss_last_mb": ("at last, MB", ",.1f"),
    "rss_peak_mb": ("highest, MB", ",.1f"),
    "asked_if_ready": ("asked whether it is ready", ",.0f"),
    "not_ready": ("times it was not", ",.0f"),
    "others_share": ("other programs' share of the cores", ".0%"),
    "generator_cores": ("cores busy with making this load", ".2f"),
}


@dataclass(frozen=True)
class LoadReport:
    """One run of ``muqrt loadtest``; ``document`` is its JSON.

    Attributes:
        created, command, environment: when, how and where it was measured.
        target: what was under load.
        load: what was asked for.
        figures: by name, None for what could not be known.
        errors: how many of each kind.
        over_time: the latencies, stretch by stretch.
        latencies_ms: of every hop.
        samples: memory, processor and live streams over time.
    """

    created: str
    command: str
    environment: dict[str, str]
    target: str
    load: dict[str, Any]
    figures: Figures
    errors: dict[str, int]
    over_time: list[Stretch]
    latencies_ms: list[float]
    samples: list[Sample]

    def document(self) -> dict[str, Any]:
        """Everything in JSON's types."""
        return asdict(self)

    def rows(self) -> list[list[str]]:
        """The figures that are known, as finished cells: name and value."""
        return [
            [label, format(value, style)]
            for name, (label, style) in _LABELS.items()
            if (value := self.figures.get(name)) is not None
        ]

    def error_rows(self) -> list[list[str]]:
        """The errors by kind, the most frequent first."""
        frequent = sorted(self.errors.items(), key=lambda each: -each[1])
        return [[kind, str(count)] for kind, count in frequent]


def require_matplotlib() -> None:
    """Raise MissingDependencyError unless charts can be drawn."""
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        raise MissingDependencyError(
            "the chart needs matplotlib. Run: pip install 'muqrt[loadtest]'"
        ) from None
