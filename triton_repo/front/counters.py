"""What the front has refused, and why, for its metrics."""

from collections import Counter

from .admission import Admission

# By the status of the answer over HTTP; gRPC's refusals are counted by the status they would have.
_REASONS = {
    400: "malformed",
    401: "token",
    404: "path",
    405: "path",
    408: "slow",
    413: "too_large",
    415: "compressed",
    429: "full",
    431: "headers",
    503: "unavailable",
    504: "late",
}


class FrontCounters:
    """Counts refusals by reason; one for HTTP and gRPC."""

    def __init__(self) -> None:
        # All reasons from the start, so that it can be read while others count.
        self._refused = Counter(dict.fromkeys(_REASONS.values(), 0))

    def refuse(self, status: int) -> None:
        """Count a refusal."""
        self._refused[_REASONS[status]] += 1

    def metrics_text(self, admission: Admission) -> str:
        """The metrics, in the text format of Prometheus."""
        lines = [
            "# HELP muqrt_front_admitted_total Inference requests and streams that got a slot",
            "# TYPE muqrt_front_admitted_total counter",
            f"muqrt_front_admitted_total {admission.admitted}",
            "# HELP muqrt_front_refused_total Requests that the front refused, by reason",
            "# TYPE muqrt_front_refused_total counter",
        ]
        lines += [
            f'muqrt_front_refused_total{{reason="{reason}"}} {count}'
            for reason, count in self._refused.items()
        ]
        lines += [
            "# HELP muqrt_front_running Inference requests and streams that hold a slot",
            "# TYPE muqrt_front_running gauge",
            f"muqrt_front_running {admission.running}",
            "# HELP muqrt_front_waiting Inference requests that wait for a slot",
            "# TYPE muqrt_front_waiting gauge",
            f"muqrt_front_waiting {admission.waiting}",
        ]
        return "\n".join(lines) + "\n"
