"""Stitched equals offline, batched equals unbatched, and one bad file harms no other."""

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from muqrt.errors import AudioError, SessionError, UsageError
from muqrt.runtime.audio.read import from_array
from muqrt.runtime.bundle.record import TensorSpec
from muqrt.runtime.engines.session import Arrays, Description, Session
from muqrt.runtime.inference.windows import Window
from muqrt.runtime.model import Model

from ..framing import muq_framing

RATE_HZ, STEP, WIDTH = 24_000, 960, 3
WINDOW = 4 * RATE_HZ

FRAMING = muq_framing(WINDOW)


def local_features(waveform: np.ndarray) -> np.ndarray:
    """(batch, samples) -> (batch, steps, 3): numbers of each step's own samples alone."""
    frames = waveform.shape[1] // 240
    steps = -(-frames // 4)
    padded = np.zeros((len(waveform), steps * STEP), np.float32)
    used = min(waveform.shape[1], steps * STEP)
    padded[:, :used] = waveform[:, :used]
    per_step = padded.reshape(len(waveform), steps, STEP)
    numbers = (per_step.mean(axis=-1), (per_step**2).sum(axis=-1), per_step.max(axis=-1))
    return np.stack(numbers, axis=-1)


class LocalSession(Session):
    """A model that sees one step at a time. Remembers the shapes it ran and what was asked."""

    def __init__(self, with_embedding: bool = True) -> None:
        outputs = [TensorSpec(name="features", dtype="float32", shape=["batch", "steps", WIDTH])]
        if with_embedding:
            outputs.append(TensorSpec(name="embedding", dtype="float32", shape=["batch", WIDTH]))
        waveform = TensorSpec(name="waveform", dtype="float32", shape=["batch", "samples"])
        super().__init__(Description([waveform], outputs, FRAMING))
        self.runs: list[tuple[int, int]] = []
        self.asked: list[str] = []
        self.closed = False

    def _run(self, inputs: Mapping[str, np.ndarray], outputs: list[str]) -> Arrays:
        features = local_features(inputs["waveform"])
        self.runs.append(inputs["waveform"].shape)
        self.asked += outputs
        every = {"features": features, "embedding": features.mean(axis=1)}
        return {name: every[name] for name in outputs}

    def close(self) -> None:
        self.closed = True


def noise(samples: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-1, 1, samples).astype(np.float32)


LENGTHS = [1025, 2000, WINDOW - 1, WINDOW, WINDOW + 1, 2 * WINDOW, 5 * WINDOW + 7_777, 2_000]


@pytest.fixture
def tracks() -> list[np.ndarray]:
    return [noise(samples, seed) for seed, samples in enumerate(LENGTHS)]


@pytest.mark.parametrize("overlap_seconds", [0, 0.04, 1.0, 2.0, 3.9])
@pytest.mark.parametrize("samples", LENGTHS)
def test_stitched_equals_offline(samples: int, overlap_seconds: float) -> None:
    track = noise(samples)
    offline = local_features(track[None])[0]
    stitched = Model(LocalSession(), overlap_seconds).features(track, RATE_HZ)
    assert stitched.dtype == np.float32
    np.testing.assert_array_equal(stitched, offline)


@pytest.mark.parametrize("batch_size", [1, 2, 3, 8, 100])
def test_batched_equals_unbatched(tracks: list[np.ndarray], batch_size: int) -> None:
    session = LocalSession()
    batched = Model(session, 1.0, batch_size)
    for features, track in zip(batched.features(tracks, RATE_HZ), tracks, strict=True):
        np.testing.assert_array_equal(features, local_features(track[None])[0])
    assert max(batch for batch, _ in session.runs) <= batch_size
    expected = [local_features(track[None])[0].mean(axis=0, dtype=np.float64) for track in tracks]
    embeddings = batched.embed(tuple(tracks), RATE_HZ)
    assert embeddings.dtype == np.float32
    np.testing.assert_allclose(embeddings, expected, rtol=1e-5, atol=1e-7)


def test_the_embedding_is_asked_for_only_where_it_is_the_tracks() -> None:
    short, long = noise(WINDOW, 1), noise(2 * WINDOW, 2)
    session = LocalSession()
    model = Model(session)
    from_output = model.embed(short, RATE_HZ)
    assert session.asked == ["embedding"]
    model.embed(long, RATE_HZ)
    assert set(session.asked[1:]) == {"features"}
    from_features = Model(LocalSession(with_embedding=False)).embed(short, RATE_HZ)
    assert from_output.shape == from_features.shape == (WIDTH,)
    np.testing.assert_allclose(from_output, from_features, rtol=1e-5, atol=1e-7)


def test_files_and_arrays_and_both(tmp_path: Path) -> None:
    samples = noise(2 * 44_100).reshape(2, -1)
    path = tmp_path / "a.wav"
    soundfile.write(path, samples.T, 44_100, "FLOAT")
    expected = local_features(from_array(samples, 44_100)[None])[0]
    model = Model(LocalSession())
    for result in [
        model.features(path),
        model.features(str(path)),
        model.features(samples, 44_100),
        *model.features((path, samples), 44_100),
    ]:
        np.testing.assert_allclose(result, expected, atol=1e-4)


def test_features_stream_in_order_without_gaps() -> None:
    track = noise(5 * WINDOW + 7_777)
    next_step, blocks = 0, []
    for start_step, block in Model(LocalSession(), 1.0, 3).stream_features(track, RATE_HZ):
        assert start_step == next_step
        next_step += len(block)
        blocks.append(block)
    assert len(blocks) > 5
    np.testing.assert_array_equal(np.concatenate(blocks), local_features(track[None])[0])


def test_progress_is_told_for_every_window_in_order() -> None:
    seen: list[Window] = []
    tracks = [noise(3 * WINDOW), noise(2_000)]
    Model(LocalSession(), batch_size=4).embed(tracks, RATE_HZ, on_window=seen.append)
    assert [window.is_last for window in seen].count(True) == 2
    kept = [step for window in seen for step in window.keep]
    assert kept == [*range(300), *range(2)]


def test_one_bad_file_does_not_stop_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    good, long, cut, text, short = (tmp_path / f"{name}.wav" for name in "abcde")
    soundfile.write(good, noise(RATE_HZ), RATE_HZ)
    soundfile.write(long, noise(3 * WINDOW), RATE_HZ)
    soundfile.write(cut, noise(4 * WINDOW), RATE_HZ)
    cut.write_bytes(cut.read_bytes()[: 5 * WINDOW])
    text.write_text("not audio")
    soundfile.write(short, noise(1_000), RATE_HZ)
    monkeypatch.setitem(sys.modules, "av", None)

    paths = [good, cut, long, text, short, good]
    model = Model(LocalSession(), batch_size=2)
    results = list(model.embed_files(paths))
    assert [path for path, _ in results] == paths
    messages = [str(result) for _, result in results if isinstance(result, AudioError)]
    assert len(messages) == 3
    for message, path, word in zip(
        messages, [cut, text, short], ["cut short", r"muqrt[av]", "too short"], strict=True
    ):
        assert str(path) in message and word in message
    np.testing.assert_array_equal(results[0][1], model.embed(good))
    np.testing.assert_array_equal(results[2][1], model.embed(long))
    np.testing.assert_array_equal(results[5][1], model.embed(good))
    for method in (model.embed, model.features):
        with pytest.raises(AudioError, match=r"c\.wav: cut short"):
            method([good, cut, long])


def test_a_half_hour_is_embedded_in_little_memory(
    half_hour: Path, memory_of: Callable[..., tuple[Any, int]]
) -> None:
    embedding, peak_bytes = memory_of(Model(LocalSession(), batch_size=2).embed, half_hour)
    assert embedding[1] > 0
    assert peak_bytes < 16 << 20


@pytest.mark.parametrize("output", ["features", "embedding"])
def test_numbers_that_are_not_finite_are_refused(output: str) -> None:
    class Overflowing(LocalSession):
        def _run(self, inputs: Mapping[str, np.ndarray], outputs: list[str]) -> Arrays:
            results = super()._run(inputs, outputs)
            results[output][-1, ..., 0] = np.inf
            return results

    model = Model(Overflowing())
    method = model.features if output == "features" else model.embed
    with pytest.raises(SessionError, match=f"NaN or infinite {output} for the window at 0.0 s"):
        method(noise(2_000), RATE_HZ)


def test_a_wrong_number_of_results_is_refused() -> None:
    class Forgetful(LocalSession):
        def _run(self, inputs: Mapping[str, np.ndarray], outputs: list[str]) -> Arrays:
            return {name: each[1:] for name, each in super()._run(inputs, outputs).items()}

    with pytest.raises(SessionError, match="gave 1 features for 2 windows"):
        Model(Forgetful(), batch_size=2).features([noise(2_000)] * 2, RATE_HZ)


def test_half_precision_results_become_float32() -> None:
    class Half(LocalSession):
        def _run(self, inputs: Mapping[str, np.ndarray], outputs: list[str]) -> Arrays:
            results = super()._run(inputs, outputs)
            return {name: each.astype(np.float16) for name, each in results.items()}

    model = Model(Half())
    for samples in (2_000, 2 * WINDOW):
        assert model.features(noise(samples), RATE_HZ).dtype == np.float32
        assert model.embed(noise(samples), RATE_HZ).dtype == np.float32


def test_arguments_that_make_no_sense() -> None:
    model = Model(LocalSession())
    with pytest.raises(UsageError, match="pass rate_hz"):
        model.features(noise(2_000))
    with pytest.raises(UsageError, match="audio array 1: a int"):
        model.features([noise(2_000), 7], RATE_HZ)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="empty list"):
        model.embed([])
    with pytest.raises(UsageError, match="batch size 0"):
        Model(LocalSession(), batch_size=0)
    with pytest.raises(UsageError, match="overlap of 100 steps"):
        Model(LocalSession(), overlap_seconds=4.0)
    with pytest.raises(AudioError, match="audio array 1: NaN"):
        model.features([noise(2_000), np.full(2_000, np.nan)], RATE_HZ)


def test_closing_the_model_closes_its_session() -> None:
    session = LocalSession()
    with Model(session) as model:
        model.embed(noise(2_000), RATE_HZ)
    assert session.closed
