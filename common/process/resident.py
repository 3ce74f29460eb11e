"""How much memory this process has."""

import resource
import sys
from pathlib import Path

_STATUS = Path("/proc/self/status")
_RSS_UNIT_BYTES = 1 if sys.platform == "darwin" else 1024


def peak_rss_bytes() -> int:
    """The largest resident memory that this process has had."""
    # Linux lets a new process inherit getrusage's peak from the one that started it.
    peak = _status_bytes("VmHWM")
    if peak is None:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _RSS_UNIT_BYTES
    return peak


def rss_bytes() -> int:
    """Its resident memory now; the largest that it has had where the system does not say."""
    now = _status_bytes("VmRSS")
    return peak_rss_bytes() if now is None else now


def _status_bytes(field: str) -> int | None:
    lines = _STATUS.read_text(encoding="ascii").splitlines() if _STATUS.is_file() else []
    for line in lines:
        name, _, value = line.partition(":")
        if name == field:
            return int(value.split()[0]) * 1024
    return None
