"""Tags from words against a loop over clips and labels."""

import math
from pathlib import Path

import numpy as np
import pytest

from muqrt.errors import AudioError, BundleError, UsageError
from muqrt.runtime.audio.read import load as load_audio
from muqrt.runtime.load import load
from muqrt.runtime.model import Model
from muqrt.runtime.text.labels import LabelSet
from muqrt.runtime.text.zero_shot import LabelTagger, LabelTags, ZeroShot

LABELS = LabelSet(("jazz piano", "欢快的小提琴", "🎻"), ("{}", "a {} song"))
SONG = "greensleeves_duo.flac"


@pytest.fixture(scope="module")
def model(mulan_bundle: Path) -> Model:
    with load(mulan_bundle, batch_size=2) as model:
        yield model


def softmax(logits: list[float]) -> list[float]:
    powers = [math.exp(logit) for logit in logits]
    return [power / sum(powers) for power in powers]


@pytest.mark.parametrize("batch_size", [1, 3])
def test_against_a_loop(model: Model, music: Path, batch_size: int) -> None:
    labels = LABELS.latents(model.embed_text)
    track = LabelTagger(model.session, LABELS, labels, batch_size).tag(music / SONG)
    clips = model.clip_latents(music / SONG)
    seconds = len(load_audio(music / SONG)) / 24_000
    assert track.window_scores.shape == (len(clips), 3) and len(clips) == math.ceil(seconds / 10)
    edges = [10.0 * index for index in range(len(clips))]
    assert track.edges_seconds.tolist() == pytest.approx([*edges, seconds])
    for clip, cosines, scores in zip(clips, track.window_cosines, track.window_scores, strict=True):
        expected = [float(clip @ label) for label in labels]
        np.testing.assert_allclose(cosines, expected, atol=1e-6)
        logits = [model.joint.temperature * each for each in expected]
        np.testing.assert_allclose(scores, softmax(logits), atol=1e-6)
    mean = clips.mean(axis=0)
    expected = [float(mean @ label) / float(np.linalg.norm(mean)) for label in labels]
    np.testing.assert_allclose(track.cosines, expected, atol=1e-6)
    logits = [model.joint.temperature * each for each in expected]
    np.testing.assert_allclose(track.scores, softmax(logits), atol=1e-6)
    names = [LABELS.labels[index] for index in np.argsort(expected)[::-1]]
    assert [tag for tag, _ in track.ranking()] == names


def test_plain_labels_have_the_models_similarity(model: Model, music: Path) -> None:
    plain = LabelSet(LABELS.labels, ("{}",))
    tagger = LabelTagger(model.session, plain, plain.latents(model.embed_text))
    expected = model.similarity(music / SONG, list(LABELS.labels))
    np.testing.assert_allclose(tagger.tag(music / SONG).cosines, expected, atol=1e-6)


def test_arrays_short_tracks_and_bad_files(model: Model, music: Path, tmp_path: Path) -> None:
    tagger = LabelTagger(model.session, LABELS, LABELS.latents(model.embed_text))
    short = np.random.default_rng(0).standard_normal(33_333).astype(np.float32) * 0.1
    track = tagger.tag(short, 24_000)
    assert track.edges_seconds.tolist() == pytest.approx([0, 33_333 / 24_000])
    (tmp_path / "bad.wav").write_text("not audio")
    found = dict(tagger.tag_files([tmp_path / "bad.wav", music / SONG]))
    assert isinstance(found[tmp_path / "bad.wav"], AudioError)
    assert isinstance(found[music / SONG], LabelTags)


def test_a_label_counts_from_chance_on_or_from_the_threshold() -> None:
    zero_shot = ZeroShot(LabelSet(("a", "b", "c", "d")), 10.0, 10.0)
    assert zero_shot.limits() == dict.fromkeys("abcd", 0.25)
    assert zero_shot.limits(0.5) == dict.fromkeys("abcd", 0.5)
    with pytest.raises(UsageError, match="between 0 and 1"):
        zero_shot.limits(float("nan"))
    cosines = np.array([[0.5, 0.1, 0.1, 0.1], [0.1, 0.3, 0.31, -1.0]], np.float32)
    scores = zero_shot.probabilities(cosines)
    track = LabelTags(zero_shot, np.array([0.0, 10.0, 14.0]), scores, cosines.mean(0), cosines)
    assert track.segments() == {"a": [(0, 10)], "c": [(10, 14)], "b": [(10, 14)]}
    assert [tag for tag, _ in track.tags()] == ["a"]
    # Nobody overflows, and of a single label nothing is left to ask.
    extreme = zero_shot.probabilities(np.array([1e6, -1e6, 0, 0], np.float32))
    assert extreme.tolist() == [1, 0, 0, 0]
    one = ZeroShot(LabelSet(("a",)), 10.0, 10.0)
    assert one.probabilities(np.array([-0.9], np.float32)).tolist() == [1.0]
    assert one.limits() == {"a": 1.0}


def test_silent_clips_have_no_labels(model: Model) -> None:
    tagger = LabelTagger(model.session, LABELS, LABELS.latents(model.embed_text))
    noise = np.random.default_rng(0).uniform(-0.1, 0.1, 240_000).astype(np.float32)
    silence = np.zeros_like(noise)
    silent = tagger.tag(np.concatenate([silence, silence]), 24_000)
    assert silent.is_silent and silent.tags(0) == [] and not silent.scores.any()
    partly = tagger.tag(np.concatenate([silence, noise]), 24_000)
    assert partly.silences == [(0, 10)]
    np.testing.assert_allclose(partly.scores, tagger.tag(noise, 24_000).scores, atol=1e-6)


def test_a_model_without_texts(tiny_bundle: Path) -> None:
    with load(tiny_bundle) as model, pytest.raises(BundleError, match="no space with texts"):
        LabelTagger(model.session, LABELS, np.zeros((3, 4), np.float32))
