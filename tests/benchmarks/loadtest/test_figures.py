"""The statistics, against figures counted by hand."""

import pytest

from muqrt.benchmarks.loadtest.figures import (
    churn_figures,
    latency_figures,
    machine_figures,
    stream_figures,
    stretches,
)
from muqrt.benchmarks.loadtest.outcome import Answer, Outcome
from muqrt.benchmarks.loadtest.watch import Sample
from muqrt.errors import ServerError

HOP_SECONDS = 0.5


def answers(latencies_ms: list[int], network_ms: int = 30) -> list[Answer]:
    return [
        Answer(i / 10, i / 10 + network_ms / 1000, i / 10 + latency / 1000)
        for i, latency in enumerate(latencies_ms)
    ]


def test_percentiles() -> None:
    found = latency_figures(answers(list(range(1, 102))), HOP_SECONDS)
    assert found["latency_p50_ms"] == pytest.approx(51)
    assert found["latency_p95_ms"] == pytest.approx(96)
    assert found["latency_p99_ms"] == pytest.approx(100)
    assert found["latency_max_ms"] == pytest.approx(101)
    assert found["service_p50_ms"] == pytest.approx(21)


def test_a_deadline_is_one_hop() -> None:
    found = latency_figures(answers([499, 501, 90, 2_000]), HOP_SECONDS)
    assert (found["missed_deadlines"], found["missed_before_arrival"]) == (2, 0)
    found = latency_figures(answers([650], network_ms=600), HOP_SECONDS)
    assert (found["missed_deadlines"], found["missed_before_arrival"]) == (1, 1)


def test_nothing_answered() -> None:
    outcome = Outcome(expected_hops=7, refused=2)
    found = stream_figures(outcome, HOP_SECONDS)
    assert found["latency_p99_ms"] is None
    assert (found["hops_unanswered"], found["streams_refused"]) == (7, 2)
    assert stretches(outcome.answers) == []


def test_latencies_over_time() -> None:
    found = stretches(answers([10] * 50 + [30] * 51))
    assert len(found) == 10
    assert sum(each.hops for each in found) == 101
    assert [each.p50_ms for each in found] == pytest.approx([10] * 5 + [30] * 5)
    assert (found[0].start_seconds, found[-1].end_seconds) == (0, 10)


def test_failures_of_one_kind_are_counted_together() -> None:
    outcome = Outcome()
    for number in (7, 123):
        outcome.fail(ServerError(f"stream {number}: out of order"))
    outcome.fail(ServerError("gone"))
    assert outcome.errors == {"stream #: out of order": 2, "gone": 1}
    assert churn_figures(outcome, 1.0, 0.0)["errors"] == 3


def test_the_machine() -> None:
    rss = [100, 300, 200]
    samples = [Sample(i * 2.0, r * 10**6, 1.0 + i, None) for i, r in enumerate(rss)]
    outcome = Outcome(audio_seconds=100.0, busy_seconds=4.0, ready=[True, False, True])
    found = machine_figures(outcome, samples, {})
    assert found["real_time_factor"] == pytest.approx(0.04)
    assert found["cpu_cores"] == pytest.approx(0.5)
    assert found["core_seconds_per_second"] == pytest.approx(0.02)
    assert (found["rss_first_mb"], found["rss_last_mb"], found["rss_peak_mb"]) == (100, 200, 300)
    assert found["rss_half_way_mb"] == 300
    assert found["not_ready"] == 1


def test_a_servers_real_time_factor_is_its_own() -> None:
    counted = {"muqrt_stream_busy_seconds_total": 3.0, "muqrt_stream_seconds_total": 60.0}
    found = machine_figures(Outcome(audio_seconds=5.0), [], counted)
    assert found["real_time_factor"] == pytest.approx(0.05)
    found = machine_figures(Outcome(audio_seconds=5.0), [], {})
    assert found["real_time_factor"] is found["rss_peak_mb"] is None
    assert "cpu_cores" not in found
