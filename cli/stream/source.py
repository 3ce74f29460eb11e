"""What ``muqrt stream`` listens to, until it ends, fails, or Ctrl-C ends it."""

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType

import numpy as np

from ...errors import MuqrtError, UsageError


class Source:
    """A file, an address on the network, or a microphone. An iterator of its chunks, once.

    A failure ends it like an end, so that what was heard is not lost.

    Args:
        where: a path or an address, or the input's number or name.
        microphone: whether it is an input of the sound card.
        real_time: play a file, rather than take it as fast as possible.

    Attributes:
        name: for people.
        error: what it failed with.
        heard_at: the monotonic clock's seconds when the newest chunk came.

    Raises:
        UsageError: nothing to listen to, or a microphone as fast as possible.
    """

    def __init__(self, where: str | None, microphone: bool, real_time: bool) -> None:
        if where is None and not microphone:
            raise UsageError("say what to listen to: an audio file, an address or --microphone.")
        if microphone and not real_time:
            raise UsageError("a microphone cannot be heard faster than real time; drop --fast.")
        self._where, self._microphone, self._real_time = where, microphone, real_time
        # A file's name may be bytes that are no text.
        self.name = (where or "microphone").encode(errors="backslashreplace").decode()
        self.error: MuqrtError | None = None
        self.heard_at = 0.0
        self._chunks: Iterator[np.ndarray] | None = None
        self._waiting = self._ended = False

    def chunks(self, rate_hz: int) -> "Source":
        """Itself, from now on with chunks, mono float32 (samples,), at this rate."""
        from ...runtime.streaming.sources.chunks import from_file
        from ...runtime.streaming.sources.microphone import from_microphone
        from ...runtime.streaming.sources.radio import from_url, is_url

        where = self._where
        if self._microphone or where is None:
            self._chunks = from_microphone(where, rate_hz)
        elif is_url(where):
            self._chunks = from_url(where, rate_hz, self._real_time)
        else:
            self._chunks = from_file(Path(where), rate_hz, self._real_time)
        return self

    def __iter__(self) -> "Source":
        return self

    def __next__(self) -> np.ndarray:
        assert self._chunks is not None
        self._waiting = True
        try:
            # Only while it waits does ``end`` interrupt.
            with suppress(KeyboardInterrupt):
                if not self._ended:
                    chunk = next(self._chunks)
                    self.heard_at = time.monotonic()
                    return chunk
        except MuqrtError as error:
            self.error = error
        finally:
            self._waiting = False
        raise StopIteration

    def end(self) -> None:
        """No more chunks; what was heard is still to be answered."""
        self._ended = True

    @contextmanager
    def ended_by_ctrl_c(self) -> Iterator[None]:
        """Ctrl-C, or a service manager's or terminal's signal, ends it; the second one interrupts
        whatever is being done."""

        def end(number: int, frame: FrameType | None) -> None:
            interrupts = self._waiting or self._ended
            self.end()
            if interrupts:
                raise KeyboardInterrupt

        signals = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        previous = {each: signal.signal(each, end) for each in signals}
        try:
            yield
        finally:
            for each, handler in previous.items():
                signal.signal(each, handler)
