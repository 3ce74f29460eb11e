"""What a load test measured."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from ..measure.report import Draw, Report, Section
from . import chart
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
_METHOD = (
    "*latency* is from the end of a hop's audio, the moment its last sample was due in real time, "
    "to its tags: what remains of the chunk it is in, the network's jitter and bursts, queues and "
    "the engine. *from arrival* leaves out the chunk and the network. A deadline is missed when "
    "the latency is longer than a hop. The *real-time factor* is engine seconds for each second of "
    "audio. *Core seconds* are the processor's time, without the waiting for it: the inverse is "
    "how many streams a core can carry at most. Memory and cores are of the whole process tree."
)


@dataclass(frozen=True, kw_only=True)
class LoadReport(Report):
    """One run of ``muqrt bench streams``.

    Attributes:
        target: the server or engine under load.
        load: what was asked for.
        figures: by name, None for what is not known.
        errors: how many of each kind.
        over_time: the latencies in consecutive stretches.
        latencies_ms: each hop's.
        samples: memory, processor and live streams over time.
    """

    target: str
    load: dict[str, Any]
    figures: Figures
    errors: dict[str, int]
    over_time: list[Stretch]
    latencies_ms: list[float]
    samples: list[Sample]

    def results(self) -> list[Section]:
        """The figures that are known, and the errors, the most frequent first."""
        rows = [
            [label, format(value, style)]
            for name, (label, style) in _LABELS.items()
            if (value := self.figures.get(name)) is not None
        ]
        found = [Section(f"Under load: {self.target}", ("figure", ""), rows, _METHOD)]
        if self.errors:
            frequent = sorted(self.errors.items(), key=lambda each: -each[1])
            errors = [[kind, str(count)] for kind, count in frequent]
            found.append(Section("Errors", ("kind", "times"), errors))
        return found

    def details(self) -> list[Section]:
        """What was asked for."""
        return [Section("Load", ("", ""), [[key, str(value)] for key, value in self.load.items()])]

    def charts(self) -> Mapping[str, Draw]:
        """Latencies, memory and live streams over time, of which any may be missing."""
        panels: list[chart.Panel] = []
        if self.latencies_ms:
            latencies = partial(chart.histogram, self.latencies_ms, self.figures)
            panels += [latencies, partial(chart.percentiles, self.over_time, self.figures)]
        watched = (
            ("rss_bytes", 1e6, "resident memory, MB"),
            ("live_streams", 1.0, "live streams"),
        )
        for index, (name, unit, label) in enumerate(watched, start=3):
            seen = [each for each in self.samples if getattr(each, name) is not None]
            values = [getattr(each, name) / unit for each in seen]
            if seen:
                panels.append(partial(chart.over_time, seen, values, label, index))
        return {"": partial(chart.draw, self.target, panels)}
