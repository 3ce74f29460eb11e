import io
from dataclasses import replace

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from muqrt.training.synth.recording import MP3, VORBIS, Recording
from muqrt.training.synth.synthesizer import SAMPLE_RATE_HZ

TONE = (0.1 * np.sin(2 * np.pi * 440 * np.arange(SAMPLE_RATE_HZ) / SAMPLE_RATE_HZ)).astype("f4")


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000))
def test_any_recording_is_sound_of_the_same_length(seed: int) -> None:
    recording = Recording.sample(np.random.default_rng(seed))
    heard = recording.record(np.random.default_rng(seed), TONE)
    assert heard.shape == TONE.shape
    assert np.isfinite(heard).all()
    assert 20 * np.log10(np.abs(heard).max()) == pytest.approx(recording.peak_dbfs, abs=0.01)
    stored = recording.encode(heard)
    decoded, rate = soundfile.read(io.BytesIO(stored))
    assert (rate, decoded.shape) == (SAMPLE_RATE_HZ, TONE.shape)
    again = Recording.sample(np.random.default_rng(seed))
    assert again == recording
    assert again.encode(again.record(np.random.default_rng(seed), TONE)) == stored


def test_a_quarter_has_been_through_a_codec() -> None:
    rng = np.random.default_rng(0)
    many = [Recording.sample(rng) for _ in range(2000)]
    assert np.mean([each.codec is not None for each in many]) == pytest.approx(0.25, abs=0.03)
    assert {each.codec for each in many} == {None, MP3, VORBIS}
    assert 0.02 < np.mean([each.suffix == ".mp3" for each in many]) < 0.08
    assert all(abs(each.cents) <= 20 and -20 <= each.peak_dbfs <= 0 for each in many)


def test_noise_and_room_are_as_strong_as_they_say() -> None:
    dry = replace(
        Recording.sample(np.random.default_rng(0)),
        rt60_s=None, tilt_db=None, low_pass_hz=None, snr_db=None, codec=None, peak_dbfs=-20.0,
    )  # fmt: skip
    clean = dry.record(np.random.default_rng(0), TONE)
    noisy = replace(dry, snr_db=30.0).record(np.random.default_rng(0), TONE)
    scale = np.dot(noisy, clean) / np.dot(clean, clean)
    rest = noisy - scale * clean
    ratio_db = 10 * np.log10(np.sum((scale * clean) ** 2) / np.sum(rest**2))
    assert ratio_db == pytest.approx(30, abs=1)
    assert np.allclose(clean[1000:-1000], TONE[1000:-1000] * clean.max() / TONE.max(), atol=1e-4)
