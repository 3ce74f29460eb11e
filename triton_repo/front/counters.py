"""What the front has refused, and why, for its metrics."""

from collections import Counter
from collections.abc import Mapping

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
    """Counts refusals by reason; one for HTTP and gRPC.

    Args:
        server: whose they are, in the metrics' names.
        more: its other reasons, by status.
    """

    def __init__(self, server: str = "front", more: Mapping[int, str] | None = None) -> None:
        self._server, self._reasons = server, {**_REASONS, **(more or {})}
        # All reasons from the start, so that it can be read while others count.
        self._refused = Counter(dict.fromkeys(self._reasons.values(), 0))

    def refuse(self, status: int) -> None:
        """Count a refusal."""
        self._refused[self._reasons[status]] += 1

    def metrics_text(self, admission: Admission) -> str:
        """The metrics, in the text format of Prometheus."""
        name = f"muqrt_{self._server}"
        lines = [
            f"# HELP {name}_admitted_total Inference requests and streams that got a slot",
            f"# TYPE {name}_admitted_total counter",
            f"{name}_admitted_total {admission.admitted}",
            f"# HELP {name}_refused_total Requests that the {self._server} refused, by reason",
            f"# TYPE {name}_refused_total counter",
        ]
        lines += [
            f'{name}_refused_total{{reason="{reason}"}} {count}'
            for reason, count in self._refused.items()
        ]
        lines += [
            f"# HELP {name}_running Inference requests and streams that hold a slot",
            f"# TYPE {name}_running gauge",
            f"{name}_running {admission.running}",
            f"# HELP {name}_waiting Inference requests that wait for a slot",
            f"# TYPE {name}_waiting gauge",
            f"{name}_waiting {admission.waiting}",
        ]
        return "\n".join(lines) + "\n"
