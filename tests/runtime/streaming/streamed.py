"""What tests of live streams need: an offline run of each window, and a session under watch."""

from collections.abc import Mapping
from functools import cache
from itertools import cycle
from pathlib import Path

import numpy as np
import soxr

from muqrt.errors import SessionError
from muqrt.runtime.audio import read as audio
from muqrt.runtime.engines.session import Arrays, Description, Parts, Session
from muqrt.runtime.streaming.engine import Hop, Streaming
from muqrt.runtime.streaming.stream import SlidingConfig

RATE_HZ, STEP = 24_000, 960
OUTPUTS = ("features", "tags")
FEATURES_RELATIVE_L2, TAGS_DIFFERENCE = 1e-5, 1e-4


class Watched(Session):
    """A session that remembers the shapes it ran, and may spoil what it gave out or fail.

    Attributes:
        shapes: of its inputs.
        spoils: whether every run overwrites the outputs of the one before, as an engine with
            buffers of its own may.
        loudest: outputs of inputs with samples above this are NaN.
        fails: whether the engine does.
    """

    def __init__(self, session: Session, spoils: bool = False) -> None:
        super().__init__(
            Description(
                list(session.inputs.values()),
                list(session.outputs.values()),
                session.framing,
                meanings=session.meanings,
            )
        )
        self.session, self.spoils, self.fails = session, spoils, False
        self.loudest = np.inf
        self.shapes: list[tuple[int, ...]] = []
        self._given: list[np.ndarray] = []

    def _run(self, inputs: Mapping[str, np.ndarray], outputs: list[str]) -> Arrays:
        (array,) = inputs.values()
        self.shapes.append(array.shape)
        if self.fails:
            raise SessionError("out of memory")
        found = self.session.run(inputs, outputs)
        for each in self._given if self.spoils else []:
            each[...] = np.nan
        self._given = list(found.values())
        for each in found.values():
            each[array.reshape(len(array), -1).max(axis=1) > self.loudest] = np.nan
        return found

    def close(self) -> None:
        """Nothing to free."""


def watched(session: Session, spoils: bool = False) -> tuple[Watched, Watched, Watched]:
    """The whole model, its front end and its encoder."""
    assert session.parts is not None
    front_end, encoder = (Watched(part, spoils) for part in session.parts)
    whole = Watched(session, spoils)
    whole.parts = Parts(front_end, encoder)
    return whole, front_end, encoder


@cache
def song(rate_hz: int, dtype: str = "float32") -> np.ndarray:
    """8 s of music at this rate."""
    path = Path(__file__).parents[3] / "examples" / "audio" / "greensleeves_duo.flac"
    mono = audio.load(path)[: 8 * RATE_HZ]
    samples = soxr.resample(mono, RATE_HZ, rate_hz)
    return samples if dtype == "float32" else np.rint(samples * 20_000).astype(dtype)


def naive_windows(samples: int, sliding: SlidingConfig) -> list[tuple[int, int]]:
    """First and last sample of every window of a stream of this length."""
    ends = [
        hops * sliding.hop_samples // STEP * STEP
        for hops in range(1, samples // sliding.hop_samples + 2)
        if hops * sliding.hop_samples >= sliding.first_steps * STEP
    ]
    ends = sorted({samples, *(end for end in ends if end < samples)})
    return [(max(0, -(-end // STEP) - sliding.window_steps) * STEP, end) for end in ends]


def offline(session: Session, sliding: SlidingConfig, mono: np.ndarray) -> list[Hop]:
    """Every window by itself through the whole model."""
    hops = []
    for first, last in naive_windows(len(mono), sliding):
        found = session.run({"waveform": mono[None, first:last]}, OUTPUTS)
        outputs = {name: array[0] for name, array in found.items()}
        hops.append(Hop(first / RATE_HZ, last / RATE_HZ, outputs, last == len(mono)))
    return hops


def assert_same(ours: list[Hop], expected: list[Hop]) -> None:
    assert [(hop.start_seconds, hop.end_seconds) for hop in ours] == [
        (hop.start_seconds, hop.end_seconds) for hop in expected
    ]
    for one, other in zip(ours, expected, strict=True):
        features, reference = one.outputs["features"], other.outputs["features"]
        assert features.shape == reference.shape
        difference = np.linalg.norm(features - reference) / np.linalg.norm(reference)
        assert difference < FEATURES_RELATIVE_L2
        assert np.abs(one.outputs["tags"] - other.outputs["tags"]).max() < TAGS_DIFFERENCE


def stream_whole(
    streaming: Streaming, samples: np.ndarray, rate_hz: int, sizes: list[int]
) -> list[Hop]:
    """All hops of samples in chunks of these sizes, again and again."""
    stream, hops, first = streaming.open(rate_hz), list[Hop](), 0
    for size in cycle(sizes):
        if first >= samples.shape[-1]:
            return hops + streaming.finish(stream)
        hops += streaming.push(stream, samples[..., first : first + size])
        first += size
    raise AssertionError
