"""A frozen MuQ's states on disk are those it has of the clips, and of nothing else."""

from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from muqrt.errors import AudioError
from muqrt.reference.config import MuQConfig
from muqrt.reference.muq import MuQ
from muqrt.reference.random_model import random_model
from muqrt.training.data.crops import Track
from muqrt.training.data.labels import store_each
from muqrt.training.data.states import Listener, StoredStates

RATE_HZ, SAMPLES = 24_000, 9_600


@pytest.fixture(scope="module")
def muq(shallow: MuQConfig) -> MuQ:
    return random_model(shallow)


def track(folder: Path, name: str, audio: np.ndarray) -> Track:
    soundfile.write(folder / name, audio, RATE_HZ, subtype="FLOAT")
    return Track(folder / name, len(audio) / RATE_HZ)


def noise(samples: int) -> np.ndarray:
    return np.random.default_rng(samples).uniform(-0.5, 0.5, samples).astype(np.float32)


def expected(muq: MuQ, clip: np.ndarray, level: int) -> np.ndarray:
    with torch.no_grad():
        return muq(torch.from_numpy(clip)[None]).hidden_states[level][0].numpy()


@pytest.mark.parametrize("level", [1, -1])
def test_clips_begin_every_half_clip(muq: MuQ, level: int, tmp_path: Path) -> None:
    audio = noise(2 * SAMPLES + 4_900)
    listener = Listener(muq, level, SAMPLES, nullcontext)
    heard = listener.states(track(tmp_path, "a.wav", audio))
    assert heard.dtype == np.float16
    assert len(heard) == 4
    for index, states in enumerate(heard):
        clip = audio[index * SAMPLES // 2 :][:SAMPLES]
        np.testing.assert_allclose(states, expected(muq, clip, level), rtol=1e-3, atol=1e-3)


def test_a_short_track_is_repeated_and_silence_left_out(muq: MuQ, tmp_path: Path) -> None:
    listener = Listener(muq, 1, SAMPLES, nullcontext)
    short = noise(4_000)
    heard = listener.states(track(tmp_path, "short.wav", short))
    repeated = np.resize(short, SAMPLES)
    np.testing.assert_allclose(heard[0], expected(muq, repeated, 1), rtol=1e-3, atol=1e-3)
    paused = np.concatenate([noise(SAMPLES), np.zeros(3 * SAMPLES, dtype=np.float32)])
    assert len(listener.states(track(tmp_path, "paused.wav", paused))) == 2
    with pytest.raises(AudioError, match="silent"):
        listener.states(track(tmp_path, "silent.wav", 0 * paused))


def test_what_is_stored_is_kept_and_read(muq: MuQ, tmp_path: Path) -> None:
    (tmp_path / "broken.wav").write_bytes(b"RIFF")
    broken = Track(tmp_path / "broken.wav", 1.0)
    good, other = (track(tmp_path, f"{n}.wav", noise(n)) for n in (2 * SAMPLES, SAMPLES))
    listener, folder = Listener(muq, 1, SAMPLES, nullcontext), tmp_path / "states"
    skipped = store_each("Encoding", [good, broken, other], folder, listener.states)
    assert [each.path for each in skipped] == [broken.path]
    written = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert len(written) == 2
    store_each("Encoding", [good, other], folder, listener.states)
    assert {path.name: path.stat().st_mtime_ns for path in folder.iterdir()} == written
    hear, random = StoredStates(folder), np.random.default_rng(0)
    clips = listener.states(good).astype(np.float32)
    found = {hear(good, random).tobytes() for _ in range(30)}
    assert found == {clip.tobytes() for clip in clips}
    assert hear(good, random).dtype == np.float32
    with pytest.raises(AudioError, match="no states"):
        hear(broken, random)


def test_states_that_float16_cannot_hold_are_refused(shallow: MuQConfig, tmp_path: Path) -> None:
    muq = random_model(shallow)
    muq.model.conformer.layer_norm.weight.data *= 1e6
    listener = Listener(muq, -1, SAMPLES, nullcontext)
    with pytest.raises(AudioError, match="not finite in float16"):
        listener.states(track(tmp_path, "a.wav", noise(SAMPLES)))
