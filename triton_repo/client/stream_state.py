"""The client's side of one live stream: what to send next, and what the answers mean.

A server that was replaced has lost its streams. So the client keeps the audio that later windows
need, opens the stream again from there, and leaves out the hops that it has already given. The new
stream's times begin at zero; for its hops to end where the old one's would have, it has to begin at
a whole number of hops, of steps and of samples: at a multiple of ``_cell``.
"""

import logging
import math
import secrets
from dataclasses import dataclass

import numpy as np

from ...common.retry import Retry
from ...errors import AudioError, ServerError
from ...runtime.audio import read as audio
from ...runtime.audio.down_mix import DownMix
from ...runtime.audio.recent import RecentSamples
from ...runtime.bundle.tagging import TAGS
from ...runtime.streaming.engine import Hop
from ...runtime.streaming.stream import SlidingConfig
from ..contract.stream import CHUNK_INDEX, RATE, WAVEFORM
from .connection import BACKOFF, BusyError

# So that the server never computes more than one second of hops for an answer, even in replays.
_PIECE_SECONDS = 1.0

_log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class StreamRequest:
    """One request of a sequence, with the served model's inputs by name."""

    stream_id: int
    inputs: dict[str, np.ndarray]
    is_start: bool
    is_end: bool


class ClientStream:
    """The state of one stream. It sends nothing itself.

    Holds a window of audio, and one ``_cell``: the least common multiple of a hop and a step,
    a second for the usual hops of a tenth, a fifth, a quarter or half a second.

    Args:
        sliding: the served model's windows.
        rate_hz: sample rate of the chunks.
        name: the stream's name in error messages.
        patience_seconds: how long requests may keep failing.
    """

    def __init__(
        self, sliding: SlidingConfig, rate_hz: int, name: str, patience_seconds: float
    ) -> None:
        audio.check_rate(rate_hz, name)
        self.name = name
        self._rate_hz, self._patience_seconds = rate_hz, patience_seconds
        self._retry = Retry(BACKOFF, patience_seconds)
        self._model_rate_hz = sliding.framing.sample_rate_hz
        self._window_seconds = sliding.window_seconds
        self._cell = _cell(sliding, rate_hz)
        self._samples, self._newest = RecentSamples(), np.zeros(0, np.float32)
        self._mix = DownMix()
        self._finished = False
        self._kept_from = self._furthest = 0
        self._given_seconds = 0.0  # where the newest hop ended
        self._open_at(0)

    def _open_at(self, position: int) -> None:
        """Begin a new stream on the server, at this sample of the client's stream."""
        self._id = secrets.randbits(63) + 1  # Triton takes 0 for no stream
        self._origin = self._position = position
        self._chunks = 0
        self.is_open = False

    def append(self, chunk: np.ndarray) -> None:
        """Add audio, (samples,) or (channels, samples), of any length."""
        self._newest = audio.mono_from_array(chunk, self.name, self._mix)
        self._samples.append(self._newest)

    def finish(self) -> None:
        """End the stream: no more audio will come."""
        if not self._samples.stop:
            raise AudioError(f"{self.name}: has no samples.")
        self._finished = True

    def next_request(self) -> StreamRequest | None:
        """The request to send; None while there is no more audio, or after the end's answer."""
        stop = min(self._samples.stop, self._position + round(_PIECE_SECONDS * self._rate_hz))
        if self._position < stop:
            inputs = {WAVEFORM: self._between(self._position, stop)}
        elif self._finished and self.is_open:
            inputs = {}
        else:
            return None
        inputs[CHUNK_INDEX] = np.array([self._chunks], np.int64)
        is_start = self._chunks == 0
        if is_start:
            inputs[RATE] = np.array([self._rate_hz], np.int32)
        # Even without an answer, the server may have the stream.
        self.is_open = True
        return StreamRequest(self._id, inputs, is_start, WAVEFORM not in inputs)

    def _between(self, first: int, last: int) -> np.ndarray:
        newest_start = self._samples.stop - len(self._newest)
        if first < newest_start:
            return self._samples.between(first, last)
        # Without copying everything that is kept.
        return self._newest[first - newest_start : last - newest_start]

    def last_request(self) -> StreamRequest:
        """The request that ends the stream early."""
        self.is_open = False
        return StreamRequest(self._id, {}, is_start=False, is_end=True)

    def answered(
        self, request: StreamRequest, tags: np.ndarray, seconds: np.ndarray, silent: np.ndarray
    ) -> list[Hop]:
        """The new hops in an answer.

        Args:
            request: what was answered.
            tags: float32 (hops, tags).
            seconds: float64 (hops, 2), each hop's start and end since the server's stream began.
            silent: bool (hops,), whether it is silent.
        """
        self._position += len(request.inputs.get(WAVEFORM, ()))
        self._chunks += 1
        self.is_open = not request.is_end
        if self._position > self._furthest or request.is_end:
            self._furthest = self._position
            self._retry.succeeded()
        offset = self._origin / self._rate_hz
        hops = []
        for row, (start, end) in enumerate((seconds + offset).tolist()):
            # Half a sample of tolerance, because sums of seconds are not exact.
            if end > self._given_seconds + 0.5 / self._model_rate_hz:
                is_last = request.is_end and row == len(tags) - 1
                outputs = {TAGS: tags[row]}
                hops.append(Hop(start, end, outputs, is_last, bool(silent[row])))
                self._given_seconds = end
        self._forget()
        return hops

    def failed(self, error: ServerError) -> float:
        """Count a failed request; returns how many seconds to wait before the next one.

        ``next_request`` is then the same request, or the first of a new stream if the server has
        lost this one.

        Raises:
            ServerError: the error given, if requests have failed for too long.
        """
        pause = self._retry.pause_after(error)
        if self._retry.failures == 1:
            _log.warning("%s: %s Trying for %g s.", self.name, error, self._patience_seconds)
        if not isinstance(error, BusyError):
            self._open_at(self._kept_from)
        return pause

    def _forget(self) -> None:
        """Drop the audio that no later window needs."""
        needed_seconds = max(0.0, self._given_seconds - self._window_seconds)
        kept_from = int(needed_seconds * self._rate_hz) // self._cell * self._cell
        if kept_from > self._kept_from:
            self._kept_from = kept_from
            self._samples.drop_before(kept_from)


def _cell(sliding: SlidingConfig, rate_hz: int) -> int:
    """The fewest samples of the stream that are whole hops and whole steps at the model's rate."""
    model_samples = math.lcm(sliding.hop_samples, sliding.framing.step_samples)
    scaled = model_samples * rate_hz
    return scaled // math.gcd(scaled, sliding.framing.sample_rate_hz)
