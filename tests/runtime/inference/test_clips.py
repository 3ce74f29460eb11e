"""Clips are those of the reference, whatever blocks a track comes in."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch")

from muqrt.errors import AudioError  # noqa: E402
from muqrt.reference.mulan.model import clips_of  # noqa: E402
from muqrt.runtime.inference.clips import ClippingConfig, LastClip  # noqa: E402
from muqrt.runtime.load import load  # noqa: E402

from ...framing import muq_framing  # noqa: E402

FRAMING = muq_framing(48, hop_samples=2, step_samples=8, minimum_samples=5)


@settings(max_examples=60, deadline=None)
@given(
    samples=st.integers(0, 200),
    sizes=st.lists(st.integers(0, 70), max_size=8),
    last_clip=st.sampled_from(["wrapped", "padded"]),
)
def test_as_the_reference_cuts(samples: int, sizes: list[int], last_clip: LastClip) -> None:
    track = np.random.default_rng(samples).normal(size=samples).astype(np.float32)
    ends = np.minimum(np.cumsum(sizes), samples).astype(int)
    blocks = np.split(track, ends)
    clipping = ClippingConfig(FRAMING, 40, last_clip)
    expected = clips_of(torch.from_numpy(track)[None], 40, last_clip)[0].numpy()
    if not expected.size or expected.shape[1] < FRAMING.minimum_samples:
        with pytest.raises(AudioError, match="song: too short"):
            list(clipping.cut(blocks, "song"))
        return
    clips = list(clipping.cut(blocks, "song"))
    np.testing.assert_array_equal(np.stack([clip.waveform for clip in clips]), expected)
    assert [clip.start_step for clip in clips] == [5 * i for i in range(len(clips))]
    assert [clip.is_last for clip in clips] == [False] * (len(clips) - 1) + [True]


def test_a_track_is_the_mean_of_its_clips(mulan_bundle: Path, music: Path) -> None:
    song = music / "greensleeves_duo.flac"
    with load(mulan_bundle, threads=1) as model:
        clips = model.clip_latents(song)
        assert clips.shape == (2, 512)
        np.testing.assert_allclose(np.linalg.norm(clips, axis=1), 1, rtol=1e-5)
        mean = model.embed_audio(song)
        np.testing.assert_allclose(mean, clips.mean(0), atol=1e-7)
        assert np.linalg.norm(mean) < 0.99999  # not of length one
        padded = model.embed_audio(song, last_clip="padded")
        assert np.abs(padded - mean).max() > 1e-4


def test_files_in_a_row(mulan_bundle: Path, music: Path, tmp_path: Path) -> None:
    song, broken = music / "bach_prelude_c.mp3", tmp_path / "broken.wav"
    broken.write_bytes(b"no audio")
    with load(mulan_bundle, threads=1, batch_size=2) as model:
        found = dict(model.embed_audio_files([song, broken, song]))
        np.testing.assert_allclose(found[song], model.embed_audio(song), atol=1e-6)
    assert isinstance(found[broken], AudioError)
