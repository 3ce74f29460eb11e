"""Keep a process under a limit of memory: how many windows at once, and how much audio ahead."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

from ...common.process.resident import peak_rss_bytes, rss_bytes
from ...errors import UsageError
from ...kernels.log_mel.contract import SAMPLE_RATE_HZ
from ..audio.tracks import SECONDS_AHEAD
from .measure import measure
from .work import WHOLE, Memory, Request

# A process takes a little more or less each time, and decoders differ: a sixteenth of what the
# model takes, and a little of what the process has besides.
_MARGIN_SHARE = 1 / 16
_OWN_BYTES = 4_000_000
_BYTES_AHEAD_PER_SECOND = SAMPLE_RATE_HZ * 4

Measure = Callable[[Request], Memory]


@dataclass(frozen=True)
class Fit:
    """What fits.

    Attributes:
        batch_size: how many windows at once.
        seconds_ahead: how much audio may be decoded in advance.
    """

    batch_size: int = 1
    seconds_ahead: int = SECONDS_AHEAD


@dataclass(frozen=True)
class Own:
    """The resident memory that this process has now, and has had at most."""

    now_bytes: int
    peak_bytes: int

    def with_model(self, taken: Memory) -> int:
        """What it will have had at most after such work.

        What the other process had before it opened the model, this one has, too.
        """
        added = (taken.peak_bytes - taken.start_bytes) * (1 + _MARGIN_SHARE)
        return max(self.peak_bytes, self.now_bytes + math.ceil(added)) + _OWN_BYTES


def fit(
    request: Request, most_bytes: int, measured: Measure = measure, own: Own | None = None
) -> Fit:
    """Find what fits a limit, by measuring; no more is tried than is expected to fit.

    Args:
        request: what is done, with the most windows at once that are wanted.
        most_bytes: the resident memory that this process may have.
        measured: measures a request.
        own: what this process has without the model; it is asked when None.

    Raises:
        UsageError: a single window at once is too much, and the message says what is needed; or a
            window is a whole track.
    """
    if request.work.window == "whole":
        raise UsageError(WHOLE)
    own = own or Own(rss_bytes(), peak_rss_bytes())
    needs: dict[int, int] = {}

    def need(windows: int) -> int:
        if windows not in needs:
            needs[windows] = own.with_model(measured(replace(request, batch_size=windows)))
        return needs[windows]

    if need(1) > most_bytes:
        taken = measured(replace(request, batch_size=1))
        loaded = own.with_model(replace(taken, peak_bytes=taken.loaded_bytes))
        raise UsageError(
            f"a limit of {most_bytes / 1e6:.0f} MB of memory: {request.artefact} needs at least "
            f"{_megabytes(need(1))} MB here, {_megabytes(loaded)} MB of them once it is loaded. "
            "Give it that, or choose a shorter window or a smaller artefact."
        )
    windows = request.batch_size
    if windows > 1:
        each = max(1, need(2) - need(1))
        windows = min(windows, max(1, 1 + (most_bytes - need(1)) // each))
        while need(windows) > most_bytes:
            windows -= 1
    seconds = 1 + (most_bytes - need(windows)) // _BYTES_AHEAD_PER_SECOND
    return Fit(windows, min(seconds, SECONDS_AHEAD))


def _megabytes(size_bytes: int) -> int:
    """Rounded up, with as much again as the next process may differ by."""
    return math.ceil((size_bytes + _OWN_BYTES) / 1e6)
