"""Live audio as short chunks: mono float32 (samples,), in real time."""

import time
from collections.abc import Iterable, Iterator
from os import PathLike

import numpy as np

from ...audio import read as audio
from ...audio.damage import USUAL, Tolerance
from ...audio.recent import RecentSamples

CHUNK_SECONDS = 0.1


def from_file(
    path: str | PathLike[str],
    rate_hz: int,
    real_time: bool = True,
    tolerance: Tolerance = USUAL,
) -> Iterator[np.ndarray]:
    """A file's chunks at ``rate_hz``: each once it has been played, or as fast as they are taken.

    Raises:
        AudioError, MissingDependencyError: what ``audio.stream`` raises.
    """
    chunks = cut(audio.stream(path, rate_hz, tolerance), rate_hz)
    return played(chunks, rate_hz) if real_time else chunks


def cut(blocks: Iterable[np.ndarray], rate_hz: int) -> Iterator[np.ndarray]:
    """The same samples in chunks of ``CHUNK_SECONDS``; the last may be shorter."""
    samples, position = RecentSamples(), 0
    chunk_samples = round(CHUNK_SECONDS * rate_hz)
    for block in blocks:
        samples.append(block)
        while samples.stop - position >= chunk_samples:
            yield samples.between(position, position + chunk_samples)
            position += chunk_samples
        samples.drop_before(position)
    if position < samples.stop:
        yield samples.between(position, samples.stop)


def played(chunks: Iterable[np.ndarray], rate_hz: int) -> Iterator[np.ndarray]:
    """Yield each chunk when it would have been played; when late, as fast as it is taken."""
    start, samples = time.monotonic(), 0
    for chunk in chunks:
        samples += len(chunk)
        time.sleep(max(0.0, start + samples / rate_hz - time.monotonic()))
        yield chunk
