"""Mix a stream's channels down to mono."""

import math

import numpy as np

# A mix this far below its channels is what is left of channels that cancel each other. Unrelated
# channels lose 3 dB when two of them are averaged, and 18 dB when 64 are.
_CANCELLED_DB = -30.0
_CANCELLED_POWER = 10 ** (_CANCELLED_DB / 10)
# How long the channels are remembered, and how much of them has to be known first. So short chunks
# are judged by what came before them.
_MEMORY_SAMPLES = 16_384
_FEWEST_SAMPLES = 2_048


class DownMix:
    """Averages one stream's channels, with equal weight, block by block.

    Channels of opposite polarity, such as those of a cable wired the wrong way round, would average
    to silence. A block in which they do is the louder channel's instead.

    Attributes:
        one_channel_samples: how many samples were one channel's.
    """

    def __init__(self) -> None:
        self._channel: int | None = None
        self.one_channel_samples = 0
        self._forget(0)

    def _forget(self, channels: int) -> None:
        self._known_samples = 0
        self._mix_power, self._powers = 0.0, np.zeros(channels)

    def push(self, block: np.ndarray) -> np.ndarray:
        """Mono float32 (samples,) from float32 (samples, channels)."""
        samples, channels = block.shape
        if channels == 1 or not samples:
            return block.mean(axis=1)
        # Each channel in one piece: a mean over two neighbouring numbers is slow.
        planes = np.ascontiguousarray(block.T)
        with np.errstate(over="ignore", invalid="ignore"):
            mix: np.ndarray = planes.mean(axis=0)
            self._remember(mix, planes)
        if not self._cancels:
            self._channel = None
            return mix
        if self._channel is None:
            self._channel = int(self._powers.argmax())
        self.one_channel_samples += samples
        return planes[self._channel]

    def _remember(self, mix: np.ndarray, planes: np.ndarray) -> None:
        if len(self._powers) != len(planes):
            self._channel = None
            self._forget(len(planes))
        kept = math.exp(-len(mix) / _MEMORY_SAMPLES)
        self._known_samples += len(mix)
        self._mix_power = kept * self._mix_power + float(np.dot(mix, mix))
        self._powers = kept * self._powers + np.array([np.dot(each, each) for each in planes])

    @property
    def _cancels(self) -> bool:
        quietest: float = _CANCELLED_POWER * self._powers.mean()
        return self._known_samples >= _FEWEST_SAMPLES and self._mix_power < quietest
