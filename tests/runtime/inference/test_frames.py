"""Overlapping windows compute their common frames once, and get what each would get alone."""

import tracemalloc
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from muqrt.runtime.audio import read as audio
from muqrt.runtime.engines.onnxruntime.session import OnnxSession
from muqrt.runtime.engines.session import Arrays, Description, Parts, Session
from muqrt.runtime.inference.frames import OverlappingFrames
from muqrt.runtime.model import Model

RATE_HZ = 24_000
# Of a step's norm: fp32 rounding is about 1e-6, a frame with another window's edge far above 1e-2.
ROUNDING = 1e-5


class Counting(Session):
    """A front end that remembers how many steps it was asked for."""

    def __init__(self, front_end: Session) -> None:
        super().__init__(
            Description(
                list(front_end.inputs.values()), list(front_end.outputs.values()), front_end.framing
            )
        )
        self.front_end, self.steps = front_end, list[int]()

    def _run(self, inputs: Mapping[str, np.ndarray], outputs: list[str]) -> Arrays:
        results = self.front_end.run(inputs, outputs)
        self.steps.append(results["frames"].shape[1])
        return results

    def close(self) -> None:
        """Nothing to free."""


@pytest.fixture(scope="module", params=[25, 50], ids="{}Hz".format)
def session(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Session:
    """A tiny model of 25 or 50 steps a second, in windows of 2 s."""
    pytest.importorskip("onnx")
    from muqrt.export.bundle_from_checkpoint import bundle_from_checkpoint
    from muqrt.export.parity.proof import Proof
    from muqrt.reference.checkpoint import Checkpoint
    from muqrt.reference.random_model import TINY, random_model

    model = random_model(replace(TINY, label_rate=request.param, encoder_depth=2))
    folder = tmp_path_factory.mktemp("frames") / "bundle"
    checkpoint = Checkpoint(model, "tiny", "0" * 64)
    bundle = bundle_from_checkpoint(Proof(checkpoint), folder, ["embedding"], window_seconds=2)
    return OnnxSession(bundle, bundle.artefacts[0], threads=1)


@pytest.fixture
def parts(session: Session) -> Parts:
    assert session.parts is not None
    return session.parts


@pytest.fixture(scope="module")
def song(music: Path) -> np.ndarray:
    return audio.load(music / "greensleeves_duo.flac")


def assert_same(ours: np.ndarray, expected: np.ndarray) -> None:
    assert ours.shape == expected.shape
    differences = np.linalg.norm(ours - expected, axis=-1) / np.linalg.norm(expected, axis=-1)
    assert differences.max() < ROUNDING


# How far the next window begins after this one, in steps, its length in steps and odd samples.
windows = st.tuples(st.integers(-9, 40), st.integers(2, 60), st.integers(0, 959))


@given(st.lists(windows, min_size=2, max_size=4))
@settings(max_examples=20, deadline=None)
def test_any_windows_in_any_order(
    session: Session, song: np.ndarray, windows: list[tuple[int, int, int]]
) -> None:
    assert session.parts is not None
    step_samples, front_end = session.framing.step_samples, session.parts.front_end
    frames, start_step = OverlappingFrames(front_end), 30
    for moved, steps, odd_samples in windows:
        start_step += moved
        first = start_step * step_samples
        window = song[None, first : first + max(steps * step_samples + odd_samples, 1_025)]
        alone = front_end.run({"waveform": window})["frames"]
        assert_same(frames.of(start_step, window), alone)


@pytest.mark.parametrize("hop_steps", [1, 12, 25, 49])
def test_only_what_is_new_and_the_edges_are_computed(
    session: Session, parts: Parts, song: np.ndarray, hop_steps: int
) -> None:
    step_samples = session.framing.step_samples
    counting = Counting(parts.front_end)
    frames = OverlappingFrames(counting)
    for start in range(0, 5 * hop_steps, hop_steps):
        frames.of(start, song[None, start * step_samples : (start + 80) * step_samples])
    # At 25 Hz: the 4 oldest and the 3 newest steps, and 6 that are spoiled where they meet.
    edges = 13 if step_samples == 960 else 22
    assert counting.steps == [80, *[min(80, hop_steps + edges)] * 4]


def test_several_streams_at_once(session: Session, parts: Parts, song: np.ndarray) -> None:
    step_samples = session.framing.step_samples
    frames = OverlappingFrames(parts.front_end)
    pair = np.stack([song[:120_000], song[100_000:220_000]])
    frames.of(0, pair[:, : 60 * step_samples])
    window = pair[:, 20 * step_samples : 80 * step_samples]
    expected = parts.front_end.run({"waveform": window})["frames"]
    assert_same(frames.of(20, window), expected)


@pytest.mark.parametrize("overlap_seconds", [0.5, 1.0, 1.7])
@pytest.mark.parametrize("batch_size", [1, 3])
def test_tracks_in_parts_equal_whole_windows(
    session: Session,
    parts: Parts,
    song: np.ndarray,
    overlap_seconds: float,
    batch_size: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Shorter than a window, a window, the last one moved back, with and without an odd end.
    lengths = [1_025, 33_333, 48_000, 48_001, 96_000, 150_077]
    tracks = [song[:length] for length in lengths]
    model = Model(session, overlap_seconds, batch_size)
    features, embeddings = model.features(tracks, RATE_HZ), model.embed(tracks, RATE_HZ)
    monkeypatch.setattr(session, "parts", None)
    for ours, expected in zip(features, model.features(tracks, RATE_HZ), strict=True):
        assert_same(ours, expected)
    assert_same(embeddings, model.embed(tracks, RATE_HZ))


def test_what_is_not_needed_is_not_loaded(tiny_bundle: Path, song: np.ndarray) -> None:
    from muqrt.runtime.load import load

    for overlap_seconds, loaded in ((2.0, (False, True, True)), (0.0, (True, False, False))):
        with load(tiny_bundle, threads=1, overlap_seconds=overlap_seconds) as model:
            session = model.session
            assert isinstance(session, OnnxSession) and session.parts is not None
            model.embed(song[:50_000], RATE_HZ)
            whole = session._graphs[-1][1]
            graphs = [whole, *(part._engine for part in session.parts)]  # type: ignore[attr-defined]
            assert tuple(graph._engine is not None for graph in graphs) == loaded


def test_memory_does_not_grow_with_the_track(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    def noise(seconds: int) -> Iterator[np.ndarray]:
        rng = np.random.default_rng(0)
        for _ in range(seconds):
            yield rng.uniform(-0.5, 0.5, RATE_HZ).astype(np.float32)

    def peak_bytes(seconds: int) -> int:
        monkeypatch.setattr(audio, "stream", lambda path, *_: noise(seconds))
        tracemalloc.start()
        Model(session, 1.0, batch_size=2).embed("long.wav")
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return peak

    peak_bytes(3)  # imports and loads
    short = peak_bytes(40)  # fills the queue of blocks
    assert peak_bytes(120) < 1.1 * short < 8 << 20
