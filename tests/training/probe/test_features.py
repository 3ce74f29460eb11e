"""Features of recordings: windows that cover them, kept on disk, bad audio left out."""

import dataclasses
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from muqrt.errors import AudioError
from muqrt.training.data.manifest import Recording
from muqrt.training.probe.features import examples, features_of, pooled_over_parts, windows
from muqrt.training.probe.tasks import STEP_SECONDS, find_task

RATE_HZ = 24_000
STEP_SAMPLES = int(STEP_SECONDS * RATE_HZ)
GENRE, STRUCTURE = find_task("genre"), find_task("structure")


class Mean:
    """An encoder whose one feature is the mean of the samples; it counts its windows."""

    identity = "mean"

    def __init__(self) -> None:
        self.windows = 0

    def __call__(self, waveforms: np.ndarray, parts: int) -> np.ndarray:
        self.windows += len(waveforms)
        return pooled_over_parts(waveforms[:, None, :, None], parts)


def ramp(path: Path, seconds: float, rate_hz: int = RATE_HZ) -> Recording:
    """A file whose samples rise by 0.01 a second."""
    time = np.arange(round(seconds * rate_hz)) / rate_hz
    soundfile.write(path, 0.1 + 0.01 * time, rate_hz, subtype="FLOAT")
    sections = ((0.0, seconds, "a"),)
    return Recording(audio=path, song=path.name, genre="g", sections=sections)


@given(st.floats(0.05, 100))
def test_windows_cover_a_recording(seconds: float) -> None:
    cut = windows(seconds, GENRE)
    covered = np.zeros(int(seconds * RATE_HZ), bool)
    for start in cut.starts:
        assert not covered[start : start + cut.samples].all()
        covered[start : start + cut.samples] = True
        assert start + cut.samples <= len(covered)
    assert cut.samples == min(len(covered), 10 * RATE_HZ)
    assert (~covered).sum() <= cut.samples / 10


@given(st.floats(0.5, 200))
def test_stepwise_windows_cover_every_whole_step(seconds: float) -> None:
    cut = windows(seconds, STRUCTURE)
    assert cut.samples % STEP_SAMPLES == 0
    assert all(start % STEP_SAMPLES == 0 for start in cut.starts)
    steps = {
        step
        for start in cut.starts
        for step in range(start // STEP_SAMPLES, (start + cut.samples) // STEP_SAMPLES)
    }
    assert steps == set(range(int(seconds * RATE_HZ) // STEP_SAMPLES))


def test_pooling_over_parts_by_hand() -> None:
    states = np.random.default_rng(0).normal(size=(2, 3, 25, 4))

    def expected(part: np.ndarray) -> np.ndarray:
        return np.concatenate([part.mean(2), part.std(2)], -1)

    np.testing.assert_allclose(pooled_over_parts(states, 1)[:, 0], expected(states), rtol=1e-5)
    halves = pooled_over_parts(states, 2)
    np.testing.assert_allclose(halves[:, 0], expected(states[:, :, :12]), rtol=1e-5)
    np.testing.assert_allclose(halves[:, 1], expected(states[:, :, 12:]), rtol=1e-5)


@pytest.mark.parametrize("rate_hz", [24_000, 44_100])
@pytest.mark.parametrize("seconds", [0.7, 29.9, 30.0, 47.3, 65.25])
def test_a_stepwise_recording_has_each_step_once_and_in_order(
    seconds: float, rate_hz: int, tmp_path: Path
) -> None:
    recording = ramp(tmp_path / "a.wav", seconds, rate_hz)
    (found,), skipped = features_of(Mean(), [recording], STRUCTURE, tmp_path / "cache")
    steps = int(seconds / STEP_SECONDS)
    expected = 0.1 + 0.01 * (np.arange(steps) + 0.5) * STEP_SECONDS
    np.testing.assert_allclose(found.features[:, 0, 0], expected, atol=2e-4)
    assert not skipped


def test_what_is_on_disk_is_not_computed_again(tmp_path: Path) -> None:
    recordings = [ramp(tmp_path / f"{index}.wav", 12 + index) for index in range(3)]
    first = Mean()
    found, _ = features_of(first, recordings, GENRE, tmp_path / "cache")
    assert first.windows == 6
    (tmp_path / "0.wav").rename(tmp_path / "renamed.wav")
    recordings[0] = recordings[0].model_copy(update={"audio": tmp_path / "renamed.wav"})
    ramp(tmp_path / "1.wav", 15)  # changed
    kept = next((tmp_path / "cache").rglob("*.npy"))
    kept.write_bytes(kept.read_bytes()[:100])  # damaged
    again = Mean()
    found_again, _ = features_of(again, recordings, GENRE, tmp_path / "cache")
    assert again.windows in (2, 4)
    assert np.array_equal(found[0].features, found_again[0].features)
    other = Mean()
    other.identity = "other"
    features_of(other, recordings, GENRE, tmp_path / "cache")
    assert other.windows == 6


def test_an_interrupted_run_goes_on(tmp_path: Path) -> None:
    recordings = [ramp(tmp_path / f"{index}.wav", 5 + index) for index in range(4)]

    def interrupt(path: Path) -> None:
        if path.name == "1.wav":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        features_of(Mean(), recordings, GENRE, tmp_path / "cache", interrupt)
    rest = Mean()
    found, _ = features_of(rest, recordings, GENRE, tmp_path / "cache")
    assert rest.windows == 2
    assert len(found) == 4


def test_bad_audio_is_left_out_and_listed(tmp_path: Path) -> None:
    good = ramp(tmp_path / "good.wav", 3)
    (tmp_path / "noise.wav").write_bytes(b"RIFF")
    soundfile.write(tmp_path / "silent.wav", np.zeros(RATE_HZ), RATE_HZ)
    soundfile.write(tmp_path / "short.wav", np.ones(500) / 2, RATE_HZ)
    music = np.random.default_rng(0).normal(size=3 * RATE_HZ) / 10
    soundfile.write(tmp_path / "cut.flac", music, RATE_HZ)
    whole = (tmp_path / "cut.flac").read_bytes()
    (tmp_path / "cut.flac").write_bytes(whole[: len(whole) // 2])
    bad = [
        good.model_copy(update={"audio": tmp_path / name})
        for name in ("noise.wav", "silent.wav", "short.wav", "gone.wav", "cut.flac")
    ]
    seen: list[Path] = []
    found, skipped = features_of(Mean(), [good, *bad], GENRE, tmp_path / "cache", seen.append)
    assert [each.recording for each in found] == [good]
    assert {each.path.stem for each in skipped} == {"noise", "silent", "short", "gone", "cut"}
    assert len(seen) == 6
    with pytest.raises(AudioError):
        features_of(Mean(), bad, GENRE, tmp_path / "cache")


def test_a_silent_window_is_left_out_each_time(tmp_path: Path) -> None:
    music = ramp(tmp_path / "a.wav", 20)
    samples, _ = soundfile.read(tmp_path / "a.wav")
    samples[: 10 * RATE_HZ] = 0
    soundfile.write(tmp_path / "a.wav", samples, RATE_HZ)
    for _ in range(2):
        (found,), skipped = features_of(Mean(), [music], GENRE, tmp_path / "cache")
        assert len(found.features) == 1
        assert [each.path for each in skipped] == [music.audio]
    short_windows = dataclasses.replace(STRUCTURE, window_seconds=10.0)
    (found,), skipped = features_of(Mean(), [music], short_windows, tmp_path / "cache")
    assert len(found.features) == 40
    assert not skipped


def test_features_that_are_not_finite_are_left_out(tmp_path: Path) -> None:
    class Broken(Mean):
        def __call__(self, waveforms: np.ndarray, parts: int) -> np.ndarray:
            return super().__call__(waveforms, parts) * np.nan

    with pytest.raises(AudioError, match="NaN or infinite"):
        features_of(Broken(), [ramp(tmp_path / "a.wav", 3)], GENRE, tmp_path / "cache")


def test_examples_are_rows_with_targets(tmp_path: Path) -> None:
    recordings = [ramp(tmp_path / "a.wav", 25), ramp(tmp_path / "b.wav", 3)]
    found, _ = features_of(Mean(), recordings, GENRE, tmp_path / "cache")
    rows = examples(found, GENRE, ["f", "g"])
    assert rows.features.shape == (4, 1, 2)
    assert rows.targets.tolist() == [1, 1, 1, 1]


class Wide(Mean):
    """Features of 1.6 MB a window."""

    identity = "wide"

    def __call__(self, waveforms: np.ndarray, parts: int) -> np.ndarray:
        return np.repeat(super().__call__(waveforms, parts), 200_000, axis=-1)


def test_a_corpus_is_in_memory_once_as_examples_and_not_before(tmp_path: Path) -> None:
    """Bounds the peak, by what numpy allocates."""
    recordings = [ramp(tmp_path / f"{index}.wav", 1.0 + index / 100) for index in range(24)]
    tracemalloc.start()
    try:
        found, _ = features_of(Wide(), recordings, GENRE, tmp_path / "cache")
        _, while_encoding = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        made = examples(found, GENRE, ["g"])
        _, while_joining = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    one = made.features.nbytes / len(recordings)
    assert while_encoding < 6 * one  # what the encoder itself needs for a recording
    assert while_joining < made.features.nbytes + 4 * one
