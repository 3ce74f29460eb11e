"""Crops: seeded, bounded, and nothing unusable among them."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from muqrt.errors import AudioError
from muqrt.training.data.crops import Crops, Track, joined, read_crop, read_samples, usable_tracks
from muqrt.training.data.manifest import Recording, read_recordings

RATE_HZ = 24_000


def write(path: Path, audio: np.ndarray, rate_hz: int = RATE_HZ) -> Path:
    soundfile.write(path, audio, rate_hz, subtype="FLOAT" if path.suffix == ".wav" else None)
    return path


def noise(samples: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-0.5, 0.5, samples).astype(np.float32)


def test_a_crop_is_those_samples(tmp_path: Path) -> None:
    audio = noise(RATE_HZ)
    path = write(tmp_path / "a.wav", audio)
    assert np.array_equal(read_crop(path, 1234, 4321), audio[1234 : 1234 + 4321])


@pytest.mark.parametrize("rate_hz", [8_000, 44_100, 48_000])
def test_other_rates_are_resampled_to_the_right_place(tmp_path: Path, rate_hz: int) -> None:
    time = np.arange(2 * rate_hz) / rate_hz
    path = write(
        tmp_path / "a.wav", (0.5 * np.sin(2 * np.pi * 50 * time)).astype(np.float32), rate_hz
    )
    crop = read_crop(path, RATE_HZ // 2, RATE_HZ)
    expected = 0.5 * np.sin(2 * np.pi * 50 * (0.5 + np.arange(RATE_HZ) / RATE_HZ))
    assert len(crop) == RATE_HZ
    assert np.abs(crop - expected)[1000:-1000].max() < 1e-3


def test_stereo_is_averaged(tmp_path: Path) -> None:
    left = noise(RATE_HZ)
    path = write(tmp_path / "a.wav", np.stack([left, np.zeros_like(left)], 1))
    assert np.array_equal(read_crop(path, 0, 100), left[:100] / 2)


def test_an_mp3_crop_is_what_decoding_from_the_start_gives(tmp_path: Path) -> None:
    time = np.arange(4 * RATE_HZ) / RATE_HZ
    path = write(tmp_path / "a.mp3", 0.5 * np.sin(2 * np.pi * (200 + 100 * time) * time))
    whole = read_samples(path, 0, 4 * RATE_HZ)
    assert np.array_equal(read_crop(path, 50_001, RATE_HZ), whole[50_001 : 50_001 + RATE_HZ])


@pytest.mark.parametrize(
    ("audio", "reason"),
    [
        (np.zeros(RATE_HZ), "silent from 0.0 s on"),
        (np.full(RATE_HZ, np.nan), "NaN or infinite"),
        (noise(RATE_HZ // 2), "ends before"),
        (np.zeros(0), "ends before"),
    ],
)
def test_what_cannot_be_used_says_why(tmp_path: Path, audio: np.ndarray, reason: str) -> None:
    path = write(tmp_path / "a.wav", audio)
    with pytest.raises(AudioError, match=reason):
        read_crop(path, 0, RATE_HZ)


def test_bytes_that_are_no_audio(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(b"RIFF nonsense")
    with pytest.raises(AudioError, match=r"a\.wav: cannot be decoded"):
        read_crop(tmp_path / "a.wav", 0, 10)


def test_usable_tracks_lists_what_is_left_out(tmp_path: Path) -> None:
    write(tmp_path / "good.wav", noise(RATE_HZ))
    write(tmp_path / "short.wav", noise(1000))
    write(tmp_path / "odd.wav", noise(3 * RATE_HZ), 4_000)
    (tmp_path / "broken.flac").write_bytes(b"fLaC but no more")
    recordings = [*read_recordings(tmp_path), Recording(audio=tmp_path / "missing.wav")]
    tracks, skipped = usable_tracks(recordings, least_seconds=0.5)
    assert [track.path.name for track in tracks] == ["good.wav"]
    reasons = {each.path.name: each.reason for each in skipped}
    assert set(reasons) == {"short.wav", "odd.wav", "broken.flac", "missing.wav"}
    assert "0.0 s, shorter than 0.5 s" in reasons["short.wav"]
    assert "4000 Hz" in reasons["odd.wav"]


def test_nothing_usable_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "broken.flac").write_bytes(b"no")
    with pytest.raises(AudioError, match=r"no usable audio among 1 recordings.*broken"):
        usable_tracks(read_recordings(tmp_path), 1)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 1000), index=st.integers(0, 10**9), samples=st.integers(2000, 30_000))
def test_a_crop_follows_from_its_number(
    chord_corpus: Path, seed: int, index: int, samples: int
) -> None:
    tracks, _ = usable_tracks(read_recordings(chord_corpus), 5)
    first = Crops(tracks, samples, seed)[index].inputs[0]
    assert first.shape == (1, samples)
    assert torch.equal(first, Crops(tracks, samples, seed)[index].inputs[0])


def test_other_numbers_and_seeds_give_other_crops(chord_corpus: Path) -> None:
    tracks, _ = usable_tracks(read_recordings(chord_corpus), 5)
    waveforms = [Crops(tracks, 5000, seed)[i].inputs[0] for seed in (0, 1) for i in (0, 1)]
    assert len({waveform.numpy().tobytes() for waveform in waveforms}) == 4


def test_crops_lie_on_the_grid_and_reach_both_ends(chord_corpus: Path) -> None:
    tracks, _ = usable_tracks(read_recordings(chord_corpus), 5)
    crops = Crops(tracks[:1], 5 * RATE_HZ, 0, grid_samples=960)
    starts = {crops.draw(index)[0].start for index in range(200)}
    assert all(start % 960 == 0 for start in starts)
    assert min(starts) == 0
    assert max(starts) == RATE_HZ // 960 * 960


def test_a_track_shorter_than_a_crop_is_repeated(tmp_path: Path) -> None:
    audio = noise(1000)
    track = Track(write(tmp_path / "a.wav", audio), 1000 / RATE_HZ)
    crop = Crops([track], 2500, 0)[3].inputs[0][0].numpy()
    assert np.array_equal(crop, np.concatenate([audio, audio, audio[:500]]))


def test_longer_tracks_are_drawn_more_often(tmp_path: Path) -> None:
    tracks = [
        Track(write(tmp_path / "a.wav", noise(3 * RATE_HZ)), 3.0),
        Track(write(tmp_path / "b.wav", noise(RATE_HZ)), 1.0),
    ]
    crops = Crops(tracks, 1000, 0)
    drawn = [crops.draw(index)[0].track for index in range(400)]
    assert 0.68 < drawn.count(tracks[0]) / 400 < 0.82


def test_a_bad_track_is_replaced_and_reported(tmp_path: Path) -> None:
    good = Track(write(tmp_path / "good.wav", noise(2 * RATE_HZ)), 2.0)
    bad = Track(write(tmp_path / "silent.wav", np.zeros(2 * RATE_HZ)), 2.0)
    batch = joined([Crops([good, bad], 1000, 0)[index] for index in range(20)])
    assert batch.inputs[0].shape == (20, 1000)
    assert batch.inputs[0].abs().amax(1).min() > 0.1
    assert {each.path.name for each in batch.skipped} == {"silent.wav"}


def test_only_bad_tracks_is_an_error(tmp_path: Path) -> None:
    bad = Track(write(tmp_path / "silent.wav", np.zeros(2 * RATE_HZ)), 2.0)
    with pytest.raises(AudioError, match=r"32 crops in a row.*silent"):
        Crops([bad], 1000, 0)[0]
