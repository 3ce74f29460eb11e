"""The statistics of a load test."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from .outcome import Answer, Outcome
from .watch import Sample

PERCENTILES = (50, 95, 99)
_MOST_STRETCHES = 30
_BUSY, _ANSWERED = "muqrt_stream_busy_seconds_total", "muqrt_stream_seconds_total"

Figures = dict[str, float | int | None]


@dataclass(frozen=True)
class Stretch:
    """The hops that were due in one stretch of the test, and percentiles of their latencies."""

    start_seconds: float
    end_seconds: float
    hops: int
    p50_ms: float
    p95_ms: float
    p99_ms: float


def latency_figures(answers: Sequence[Answer], hop_seconds: float) -> Figures:
    """Percentiles, linearly interpolated, and missed deadlines: later than one hop."""
    found: Figures = {}
    for name, seconds in (
        ("latency", [each.latency_seconds for each in answers]),
        ("service", [each.service_seconds for each in answers]),
    ):
        for percentile in (*PERCENTILES, 100):
            key = f"{name}_max_ms" if percentile == 100 else f"{name}_p{percentile}_ms"
            found[key] = float(np.percentile(seconds, percentile)) * 1000 if seconds else None
    missed = sum(each.latency_seconds > hop_seconds for each in answers)
    network = sum(each.arrived_seconds - each.due_seconds > hop_seconds for each in answers)
    return found | {"missed_deadlines": missed, "missed_before_arrival": network}


def stream_figures(outcome: Outcome, hop_seconds: float) -> Figures:
    """What happened to the streams and their hops."""
    hops = len(outcome.answers)
    return {
        "hop_ms": hop_seconds * 1000,
        "streams_opened": outcome.opened,
        "streams_vanished": outcome.vanished,
        "streams_refused": outcome.refused,
        "audio_seconds": outcome.audio_seconds,
        "hops": hops,
        "hops_unanswered": max(0, outcome.expected_hops - hops),
        **latency_figures(outcome.answers, hop_seconds),
        "errors": outcome.errors.total(),
    }


def churn_figures(outcome: Outcome, seconds: float, slots_lost: float | None) -> Figures:
    """The outcome of thousands of short streams in so many seconds, and how many are still live."""
    return {
        "churn_seconds": seconds,
        "streams_opened": outcome.opened,
        "streams_vanished": outcome.vanished,
        "refusals": outcome.refused,
        "slots_lost": slots_lost,
        "errors": outcome.errors.total(),
    }


def machine_figures(
    outcome: Outcome, samples: Sequence[Sample], counted: Mapping[str, float]
) -> Figures:
    """Memory, processor and readiness; None for what was not watched."""
    busy, answered = outcome.busy_seconds, outcome.audio_seconds
    if busy is None:
        busy, answered = counted.get(_BUSY), counted.get(_ANSWERED, 0.0)
    memory = [each.rss_bytes / 1e6 for each in samples if each.rss_bytes is not None]
    return {
        "real_time_factor": busy / answered if busy is not None and answered else None,
        **_core_figures(samples, outcome.audio_seconds),
        "rss_first_mb": memory[0] if memory else None,
        "rss_half_way_mb": memory[len(memory) // 2] if memory else None,
        "rss_last_mb": memory[-1] if memory else None,
        "rss_peak_mb": max(memory, default=None),
        "asked_if_ready": len(outcome.ready) or None,
        "not_ready": outcome.ready.count(False) if outcome.ready else None,
    }


def _core_figures(samples: Sequence[Sample], audio_seconds: float) -> Figures:
    """How busy the processor's cores were; empty where that was not watched."""
    used = [(each.seconds, each.cpu_seconds) for each in samples if each.cpu_seconds is not None]
    if len(used) < 2 or not audio_seconds:
        return {}
    (began, before), (ended, after) = used[0], used[-1]
    return {
        "core_seconds_per_second": (after - before) / audio_seconds,
        "cpu_cores": (after - before) / (ended - began),
    }


def stretches(answers: Sequence[Answer]) -> list[Stretch]:
    """The latencies over time, in stretches of equal length; those without hops are left out."""
    if not answers:
        return []
    due = np.array([each.due_seconds for each in answers])
    latency_ms = np.array([each.latency_seconds for each in answers]) * 1000
    count = max(1, min(_MOST_STRETCHES, int(due.max() - due.min())))
    edges = np.linspace(due.min(), due.max(), count + 1)
    place = np.clip(np.searchsorted(edges, due, side="right") - 1, 0, count - 1)
    found = []
    for i in range(count):
        here = latency_ms[place == i]
        if len(here):
            p50, p95, p99 = map(float, np.percentile(here, PERCENTILES))
            span = float(edges[i]), float(edges[i + 1])
            found.append(Stretch(*span, len(here), p50, p95, p99))
    return found
