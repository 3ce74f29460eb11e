"""Cut a stream of samples into overlapping windows, and say which steps of each to keep.

Near a window's edges the model sees less context, so neighbouring windows overlap and each step
is taken from the window in which it lies farther from an edge.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from ...errors import AudioError, BundleError, SessionError, UsageError
from ...kernels.log_mel.contract import PAD_SAMPLES
from ..audio.recent import RecentSamples
from ..audio.silence import is_silent
from ..bundle.manifest import Framing

# "whole", or seconds.
WindowLength = Literal["whole"] | float

_OVERLAP_SECONDS = 2.0
# A window's activations are in memory at once, and its attention's work grows with its square.
SHORTEST_SECONDS, LONGEST_SECONDS = 1.0, 1800.0


@dataclass(frozen=True, eq=False)
class Window:
    """A piece of a track for one run of the model.

    Attributes:
        start_step: where it begins in the track, in feature steps.
        steps: how many feature steps the model gives for it.
        waveform: (samples,) float32.
        keep: which of the track's steps to take from this window. The windows' ``keep`` follow
            one another without gap or overlap from step 0 to the track's last.
        is_last: whether the track ends with it.
    """

    start_step: int
    steps: int
    waveform: np.ndarray
    keep: range
    is_last: bool

    @property
    def is_whole_track(self) -> bool:
        """Whether the track is this window alone."""
        return self.is_last and self.start_step == 0

    @property
    def is_silent(self) -> bool:
        """Whether no sample of it is louder than ``SILENCE_DBFS``."""
        return is_silent(self.waveform)

    def trim(self, features: np.ndarray) -> np.ndarray:
        """The kept part of what the model gave: (steps, ...) -> (len(keep), ...)."""
        if len(features) != self.steps:
            raise SessionError(
                f"the engine gave {len(features)} steps for {len(self.waveform)} samples; the "
                f"bundle's framing says {self.steps}. Export the bundle again."
            )
        return features[self.keep.start - self.start_step : self.keep.stop - self.start_step]


@dataclass(frozen=True)
class WindowingConfig:
    """How tracks are cut for a model.

    Windows are ``framing.window_samples`` long, begin at whole steps, and share ``overlap_steps``.
    The last one is moved back, so that it is full but for less than a step; a track no longer
    than a window is one window of its own length. The model gives a step for an incomplete last
    one too, unless it counts ``whole_steps`` only. With ``whole_track`` a track longer than a
    window is an error.

    Raises:
        UsageError: the overlap is negative, or as long as the window.
        BundleError: the framing cannot be cut by: a step that is no multiple of the hop, or a
            window too short.
    """

    framing: Framing
    overlap_steps: int
    whole_steps: bool = False
    whole_track: bool = False

    def __post_init__(self) -> None:
        framing = self.framing
        shortest = framing.step_samples + max(framing.minimum_samples, framing.step_samples)
        if framing.step_samples % framing.hop_samples or framing.window_samples < shortest:
            raise BundleError(
                f"framing {framing}: the step must be a multiple of the hop, and the window at "
                f"least {shortest} samples. Export the bundle again."
            )
        if not 0 <= self.overlap_steps < self._window_steps:
            seconds = self._window_steps / framing.steps_per_second
            raise UsageError(
                f"overlap of {self.overlap_steps} steps; it must be at least 0 and shorter than "
                f"the window of {self._window_steps} steps ({seconds:.2f} s)."
            )

    @classmethod
    def of(
        cls,
        framing: Framing,
        window: WindowLength | None = None,
        overlap_seconds: float | None = None,
    ) -> "WindowingConfig":
        """Windows for features that are stitched.

        Args:
            framing: the model's.
            window: their length in seconds, or "whole" for a track in one piece; the framing's
                when left out.
            overlap_seconds: how much neighbours share; 2 s, or a quarter of a short window, when
                left out.

        Raises:
            UsageError: no such window, or an overlap that does not fit it.
        """
        seconds = framing.window_seconds
        if window == "whole":
            if overlap_seconds:
                raise UsageError("a whole track is one window: leave the overlap out.")
            seconds = LONGEST_SECONDS
        elif window is not None:
            if (
                isinstance(window, bool)
                or not isinstance(window, (int, float))
                or not SHORTEST_SECONDS <= window <= LONGEST_SECONDS
            ):
                raise UsageError(
                    f"window {window!r}: give seconds, {SHORTEST_SECONDS:g} to "
                    f'{LONGEST_SECONDS:g}, or "whole".'
                )
            seconds = window
        if window is not None:
            framing = framing.with_window(seconds)
        if window == "whole":
            return cls(framing, 0, whole_track=True)
        if overlap_seconds is None:
            overlap_seconds = min(_OVERLAP_SECONDS, seconds / 4)
        return cls(framing, round(overlap_seconds * framing.steps_per_second))

    @classmethod
    def every(
        cls, framing: Framing, window_seconds: float, hop_seconds: float | None = None
    ) -> "WindowingConfig":
        """Windows of another length than the framing's, one beginning every ``hop_seconds``.

        Both are rounded to whole steps; the hop is half a window when left out.
        """
        if hop_seconds is None:
            hop_seconds = window_seconds / 2
        if not 0 < hop_seconds <= window_seconds:
            raise UsageError(
                f"a hop of {hop_seconds} s; it must be above 0 and at most the window's "
                f"{window_seconds:g} s."
            )
        steps = round(window_seconds * framing.steps_per_second)
        hop_steps = max(1, round(hop_seconds * framing.steps_per_second))
        return cls(framing.with_window(window_seconds), steps - hop_steps)

    @classmethod
    def mel_tokens(cls, framing: Framing) -> "WindowingConfig":
        """Windows whose log-mel, in the steps that are kept, is that of the whole track.

        A step's frames look no farther than half an STFT window before and after it. So much of
        every window's edges is left to its neighbours, rounded up to whole steps.
        """
        overlap = 2 * ceil_divide(PAD_SAMPLES, framing.step_samples)
        return cls(framing, overlap, whole_steps=True)

    @property
    def facts(self) -> dict[str, Any]:
        """What results depend on, as they record it."""
        return {
            "window_seconds": "whole" if self.whole_track else self.framing.window_seconds,
            "overlap_seconds": self.overlap_steps / self.framing.steps_per_second,
        }

    @property
    def _window_steps(self) -> int:
        return self.framing.window_samples // self.framing.step_samples

    def steps(self, samples: int) -> int:
        """How many steps the model gives for this many samples."""
        if self.whole_steps:
            return samples // self.framing.step_samples
        hops = samples // self.framing.hop_samples
        return ceil_divide(hops, self.framing.step_samples // self.framing.hop_samples)

    def end_seconds(self, window: Window) -> float:
        """Where a window ends in its track."""
        first = window.start_step * self.framing.step_samples
        return (first + len(window.waveform)) / self.framing.sample_rate_hz

    def cut(self, blocks: Iterable[np.ndarray], name: str = "audio") -> Iterator[Window]:
        """Cut a track into windows, whatever the sizes of the blocks (samples,) it comes in.

        At most two windows and one block are held.
        """
        window_samples, step_samples = self.framing.window_samples, self.framing.step_samples
        stride = self._window_steps - self.overlap_steps
        recent = RecentSamples()
        start, kept = 0, 0
        for block in blocks:
            recent.append(block)
            if self.whole_track and recent.stop > window_samples:
                seconds = window_samples / self.framing.sample_rate_hz
                raise AudioError(
                    f"{name}: longer than {seconds:g} s, the most for a whole track in one window; "
                    "give the window in seconds instead."
                )
            # A window is complete once it is certain where the next one begins: a whole stride
            # later if the track goes on beyond that window too.
            while recent.stop > (start + stride) * step_samples + window_samples:
                window = self._window(recent, start, kept, start + stride)
                yield window
                start, kept = start + stride, window.keep.stop
                recent.drop_before(start * step_samples)
        if recent.stop < self.framing.minimum_samples:
            raise too_short(self.framing, recent.stop, name)
        last = ceil_divide(max(0, recent.stop - window_samples), step_samples)
        if start < last:
            window = self._window(recent, start, kept, last)
            yield window
            kept = window.keep.stop
        yield self._window(recent, last, kept, None)

    def _window(
        self, recent: RecentSamples, start: int, kept: int, following: int | None
    ) -> Window:
        first = start * self.framing.step_samples
        waveform = recent.between(first, min(first + self.framing.window_samples, recent.stop))
        steps = self.steps(len(waveform))
        stop = start + steps
        if following is not None:
            stop = (following + stop) // 2  # the middle of the overlap
        return Window(start, steps, waveform, range(kept, stop), following is None)


def window_length(text: str | None) -> WindowLength | None:
    """A window's length from a command line: "whole" or seconds.

    Raises:
        UsageError: neither.
    """
    if text is None:
        return None
    if text == "whole":
        return "whole"
    try:
        return float(text)
    except ValueError:
        raise UsageError(f"--window {text!r}: give seconds, or whole.") from None


def refuse_window(window: object, what: str) -> None:
    """Raise UsageError if a window is asked for where there is no choice."""
    if window is not None:
        raise UsageError(
            f"window {window!r}: {what} come from clips of the length that they were trained on, "
            "and others would not mean the same. Leave it out; features and embeddings have it."
        )


def too_short(framing: Framing, samples: int, name: str) -> AudioError:
    """The error for audio of so many samples, called ``name``."""
    return AudioError(
        f"{name}: too short: {samples / framing.sample_rate_hz:.3f} s; the model needs at least "
        f"{framing.minimum_samples / framing.sample_rate_hz:.3f} s."
    )


def ceil_divide(number: int, divisor: int) -> int:
    """The quotient, rounded up."""
    return -(-number // divisor)
