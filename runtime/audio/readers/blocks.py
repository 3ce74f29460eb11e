"""What the readers give: an open file's promise, and its samples in blocks."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

# Large enough to make the cost of each block small, small enough to place an error in time.
BLOCK_SAMPLES = 16_384
# A lossy file's length may include the padding that its encoder added.
PADDING_SECONDS = 0.25


class DecodingError(Exception):
    """The decoder met bytes that it cannot decode, after some that it could."""


class Refusal(Exception):  # noqa: N818
    """A reader does not know such files."""


class Block(NamedTuple):
    """float32 (samples, channels) at a rate; both may differ from the block's before."""

    samples: np.ndarray
    rate_hz: int


@dataclass
class DecodedAudio:
    """An open file.

    Attributes:
        promised_seconds: its length if the header counts it; None where it says nothing reliable.
        slack_seconds: how much less is no loss, for a decoder may drop what its encoder added.
        is_mpeg: whether it is an mp3 or mp2, whose frames tell its length.
        blocks: its samples; reading them may raise DecodingError.
        bad_packets: how many packets could not be decoded so far.
        bad_seconds: how long they would have been.
    """

    promised_seconds: float | None
    slack_seconds: float
    is_mpeg: bool = False
    blocks: Iterator[Block] = field(default_factory=lambda: iter(()))
    bad_packets: int = 0
    bad_seconds: float = 0.0


def to_float(samples: np.ndarray) -> np.ndarray:
    """Integer or float samples as float32, integers scaled to [-1, 1); too large is infinite."""
    if samples.dtype.kind == "f":
        with np.errstate(over="ignore"):
            return samples.astype(np.float32, copy=False)
    half_range = 2.0 ** (8 * samples.dtype.itemsize - 1)
    scaled = samples.astype(np.float32) / np.float32(half_range)
    return scaled - np.float32(1) if samples.dtype.kind == "u" else scaled
