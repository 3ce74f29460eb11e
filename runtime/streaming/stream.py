"""One live stream: its state, and the windows that slide over it."""

from dataclasses import dataclass

import numpy as np

from ...errors import AudioError, UsageError
from ..audio import read as audio
from ..audio.down_mix import DownMix
from ..audio.recent import RecentSamples
from ..audio.resampler import Resampler
from ..audio.silence import is_silent
from ..bundle.manifest import Framing
from ..bundle.tagging import Tagging
from ..engines.session import Session
from ..inference.frames import OverlappingFrames
from ..inference.windows import ceil_divide, too_short

HOP_SECONDS = 0.5
WINDOW_SECONDS = 10.0
FIRST_SECONDS = 2.0  # earlier answers would be guesses
LONGEST_CHUNK_SECONDS = 10.0
_LONGEST_WINDOW_SECONDS = 600.0


@dataclass(frozen=True)
class SlidingConfig:
    """How windows slide over streams, whose samples are at the model's rate.

    A window ends with every hop, at the last whole step of features before it, and reaches back as
    far as ``window_steps``, or to the beginning of the stream. A stream that ends within a hop has
    a last window that ends with it.

    Attributes:
        framing: the model's.
        hop_samples: from the end of a window to that of the next.
        window_steps: the longest window.
        first_steps: the shortest, the stream's first.
    """

    framing: Framing
    hop_samples: int
    window_steps: int
    first_steps: int

    @classmethod
    def every(
        cls,
        framing: Framing,
        tagging: Tagging | None = None,
        hop_seconds: float = HOP_SECONDS,
        window_seconds: float | None = None,
        first_seconds: float = FIRST_SECONDS,
    ) -> "SlidingConfig":
        """A window every ``hop_seconds``.

        Args:
            framing: the model's.
            tagging: the model's, where it has tags.
            hop_seconds: at least a step of the features.
            window_seconds: as long as the tags are for, or 10 s, when left out.
            first_seconds: the stream's age at its first window; a window's length at most.

        Raises:
            UsageError: impossible lengths.
        """
        if window_seconds is None:
            window_seconds = WINDOW_SECONDS if tagging is None else tagging.window_seconds
        if not 0 < window_seconds <= _LONGEST_WINDOW_SECONDS:
            raise UsageError(
                f"a window of {window_seconds} s; it must be above 0, and "
                f"{_LONGEST_WINDOW_SECONDS:g} s at most."
            )
        rate_hz, step_samples = framing.sample_rate_hz, framing.step_samples
        # Or two windows would end at the same step.
        if not step_samples / rate_hz <= hop_seconds <= window_seconds:
            raise UsageError(
                f"a hop of {hop_seconds} s; it must be {step_samples / rate_hz:g} s at least, and "
                f"at most the window's {window_seconds:g} s."
            )
        if not first_seconds > 0:
            raise UsageError(f"a first answer after {first_seconds} s; that must be above 0.")
        first_seconds = min(first_seconds, window_seconds)
        shortest = ceil_divide(framing.minimum_samples, step_samples)
        window_steps, first_steps = (
            max(shortest, round(seconds * rate_hz / step_samples))
            for seconds in (window_seconds, first_seconds)
        )
        return cls(framing, round(hop_seconds * rate_hz), window_steps, first_steps)

    @property
    def window_seconds(self) -> float:
        """The length of the longest window."""
        return self.window_steps * self.framing.step_samples / self.framing.sample_rate_hz

    @property
    def hop_seconds(self) -> float:
        """The mean time from the end of a window to the end of the next."""
        return self.hop_samples / self.framing.sample_rate_hz

    def following(self, hops: int) -> tuple[int, int]:
        """The number of hops once the next window has ended, and where it ends, in steps."""
        first_samples = self.first_steps * self.framing.step_samples
        hops = max(hops + 1, ceil_divide(first_samples, self.hop_samples))
        return hops, hops * self.hop_samples // self.framing.step_samples


@dataclass(frozen=True, eq=False)
class StreamWindow:
    """A window that has ended.

    Attributes:
        start_step: where it begins in its stream, in feature steps.
        waveform: (1, samples) float32, at the model's rate.
        is_last: whether the stream ends with it.
    """

    start_step: int
    waveform: np.ndarray
    is_last: bool

    @property
    def is_silent(self) -> bool:
        """Whether no sample of it is louder than ``SILENCE_DBFS``."""
        return is_silent(self.waveform)


class Stream:
    """The state of one stream: a window of samples and its frames, whatever the stream's age.

    Args:
        sliding: its windows.
        rate_hz: of the chunks that are appended.
        front_end: the front end of the session's parts, if it has parts.
        name: what errors call it.

    Raises:
        AudioError: an implausible rate.
    """

    def __init__(
        self,
        sliding: SlidingConfig,
        rate_hz: int,
        front_end: Session | None = None,
        name: str = "stream",
    ) -> None:
        audio.check_rate(rate_hz, name)
        self.sliding, self.rate_hz, self.front_end, self.name = sliding, rate_hz, front_end, name
        self.forget_frames()
        self.ended = False
        self._resampler = Resampler(rate_hz, sliding.framing.sample_rate_hz)
        self._mix, self._samples = DownMix(), RecentSamples()
        self._hops = self._end_step = 0

    def forget_frames(self) -> None:
        """Drop the held frames, so that the next window's are all computed anew."""
        self.frames = None if self.front_end is None else OverlappingFrames(self.front_end)

    def append(self, chunk: np.ndarray | None, is_last: bool = False) -> None:
        """Append a chunk.

        Args:
            chunk: (samples,) or (channels, samples), float32, float64, int16 or int32, up to 10 s;
                None for nothing more, if it is the last.

        Raises:
            AudioError: a wrong dtype or shape, no samples, too many, not finite, or the stream has
                ended already: the stream is as it was. Or it ends here, too short for the model.
        """
        if self.ended:
            raise AudioError(f"{self.name}: it has ended; open another stream.")
        if chunk is not None:
            longest = round(LONGEST_CHUNK_SECONDS * self.rate_hz)
            if chunk.ndim and chunk.shape[-1] > longest:
                raise AudioError(
                    f"{self.name}: a chunk of {chunk.shape[-1]} samples; send at most {longest} "
                    f"({LONGEST_CHUNK_SECONDS:g} s) at once."
                )
            mono = audio.mono_from_array(chunk, self.name, self._mix)
            self._samples.append(self._resampler.push(mono))
        if not is_last:
            return
        self._samples.append(self._resampler.finish())
        self.ended = True
        framing, samples = self.sliding.framing, self._samples.stop
        if samples < framing.minimum_samples:
            self._samples = RecentSamples()  # no window can be had of them
            raise too_short(framing, samples, self.name)

    def next_window(self) -> StreamWindow | None:
        """The next window that has ended, in order; None until more is appended."""
        step_samples, window_steps = self.sliding.framing.step_samples, self.sliding.window_steps
        hops, end_step = self.sliding.following(self._hops)
        stop = self._samples.stop
        if end_step * step_samples <= stop:
            stop, self._hops, self._end_step = end_step * step_samples, hops, end_step
        elif self.ended and stop > self._end_step * step_samples:
            self._end_step = ceil_divide(stop, step_samples)
        else:
            return None
        start_step = max(0, self._end_step - window_steps)
        waveform = self._samples.between(start_step * step_samples, stop)
        # No window to come begins before this one.
        self._samples.drop_before(start_step * step_samples)
        is_last = self.ended and stop == self._samples.stop
        return StreamWindow(start_step, waveform[None], is_last)
