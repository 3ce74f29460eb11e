"""The audio source of ``muqrt stream``."""

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from ...common.interrupts import ENDING_SIGNALS, interrupt
from ...errors import MuqrtError, UsageError

if TYPE_CHECKING:
    import numpy as np

    from ...runtime.audio.damage import Tolerance


class Source:
    """A file, an http(s) address or a microphone; iterates once over its chunks.

    A failure ends the iteration instead of raising, so that the results so far are kept.

    Args:
        where: a path, an address, or with ``microphone`` the input's number or name.
        microphone: whether to record from an audio input.
        real_time: read a file in real time instead of as fast as possible.
        tolerance: how much damage of a file is accepted; the usual when None.

    Attributes:
        name: the source's name, for messages.
        error: the failure that ended it, if any.
        is_interrupted: whether a signal has ended it.
        heard_at: when the newest chunk came, in seconds of the monotonic clock.

    Raises:
        UsageError: no source, or a microphone faster than real time.
    """

    def __init__(
        self,
        where: str | None,
        microphone: bool,
        real_time: bool,
        tolerance: "Tolerance | None" = None,
    ) -> None:
        if where is None and not microphone:
            raise UsageError("say what to listen to: an audio file, an address or --microphone.")
        if microphone and not real_time:
            raise UsageError("a microphone cannot be read faster than real time; drop --fast.")
        self._where, self._microphone, self._real_time = where, microphone, real_time
        self._tolerance = tolerance
        # A file's name may be bytes that are no text.
        self.name = (where or "microphone").encode(errors="backslashreplace").decode()
        self.error: MuqrtError | None = None
        self.is_interrupted = False
        self.heard_at = 0.0
        self._chunks: Iterator[np.ndarray] | None = None
        self._waiting = self._ended = False

    def chunks(self, rate_hz: int) -> "Source":
        """Open the source: it then yields mono float32 (samples,) chunks at this rate."""
        from ...runtime.audio.damage import USUAL
        from ...runtime.streaming.sources.chunks import from_file
        from ...runtime.streaming.sources.microphone import from_microphone
        from ...runtime.streaming.sources.radio import from_url, is_url

        where = self._where
        if self._microphone or where is None:
            self._chunks = from_microphone(where, rate_hz)
        elif is_url(where):
            self._chunks = from_url(where, rate_hz, self._real_time)
        else:
            self._chunks = from_file(
                Path(where), rate_hz, self._real_time, self._tolerance or USUAL
            )
        return self

    def __iter__(self) -> "Source":
        return self

    def __next__(self) -> "np.ndarray":
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
        """Yield no more chunks; those already yielded are still processed."""
        self._ended = True

    @contextmanager
    def ended_by_ctrl_c(self) -> Iterator[None]:
        """End the source on Ctrl-C, SIGTERM or SIGHUP; a second signal interrupts the program."""

        def end(number: int, frame: FrameType | None) -> None:
            interrupts = self._waiting or self._ended
            self.is_interrupted = True
            self.end()
            if interrupts:
                interrupt(number, frame)

        previous = {each: signal.signal(each, end) for each in ENDING_SIGNALS}
        try:
            yield
        finally:
            for each, handler in previous.items():
                signal.signal(each, handler)
