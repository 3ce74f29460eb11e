"""A track's tags: every window's scores stand for its own stretch of audio and no other."""

import sys
from collections.abc import Callable, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from muqrt.errors import AudioError, BundleError, SessionError, UsageError
from muqrt.runtime.bundle.meanings import explained
from muqrt.runtime.bundle.record import TensorSpec
from muqrt.runtime.bundle.tagging import Segment, Tagging, TrackTags
from muqrt.runtime.engines.session import Arrays, Description, Session
from muqrt.runtime.load import load
from muqrt.runtime.model import Model

from ...framing import muq_framing, muq_tagging

RATE_HZ, STEP = 24_000, 960
WINDOW_SECONDS = 2.0
WINDOW = round(WINDOW_SECONDS * RATE_HZ)
FRAMING = muq_framing(8 * RATE_HZ)
TAGGING = muq_tagging(["high", "low", "loud"], [0.5, 0.5, 0.6], window_seconds=WINDOW_SECONDS)


def local_tags(waveform: np.ndarray) -> np.ndarray:
    """(batch, samples) -> (batch, 3): shares of positive, of negative and of loud samples."""
    shares = [(waveform > 0), (waveform < 0), (np.abs(waveform) > 0.5)]
    return np.stack([share.mean(axis=1) for share in shares], axis=1).astype(np.float32)


class LocalSession(Session):
    """A tagger without a model. Remembers the shapes it ran."""

    def __init__(self, tagging: Tagging | None = TAGGING) -> None:
        waveform = TensorSpec(name="waveform", dtype="float32", shape=["batch", "samples"])
        outputs = [TensorSpec(name="tags", dtype="float32", shape=["batch", 3])]
        super().__init__(Description([waveform], outputs, FRAMING, meanings=explained(tagging)))
        self.runs: list[tuple[int, ...]] = []

    def _run(self, inputs: Mapping[str, np.ndarray], outputs: list[str]) -> Arrays:
        self.runs.append(inputs["waveform"].shape)
        return {"tags": local_tags(inputs["waveform"])}

    def close(self) -> None:
        pass


def noise(samples: int, seed: int = 0) -> np.ndarray:
    """Noise whose mean and loudness change every second or so."""
    random = np.random.default_rng(seed)
    offsets = np.repeat(random.uniform(-1, 1, samples // 20_000 + 1), 20_000)[:samples]
    return (random.uniform(-0.5, 0.5, samples) + offsets).astype(np.float32)


def naive(track: np.ndarray, hop_seconds: float) -> tuple[np.ndarray, np.ndarray]:
    """Edges in seconds and scores: window by window, each edge midway between two middles."""
    hop = round(hop_seconds * RATE_HZ)
    last = -(-max(0, len(track) - WINDOW) // STEP) * STEP
    starts = [*range(0, last, hop), last]
    pieces = [track[start : start + WINDOW] for start in starts]
    middles = [start + WINDOW / 2 for start in starts]
    edges = [0, *((a + b) / 2 for a, b in pairwise(middles)), len(track)]
    return np.array(edges) / RATE_HZ, np.concatenate([local_tags(each[None]) for each in pieces])


LENGTHS = [
    1025,
    30_001,
    WINDOW - 1,
    WINDOW,
    WINDOW + 1,
    WINDOW + STEP,
    3 * WINDOW,
    7 * WINDOW + 777,
]


@pytest.mark.parametrize("hop_seconds", [0.04, 0.52, 1.0, 2.0])
@pytest.mark.parametrize("samples", LENGTHS)
def test_windows_and_edges_are_those_of_the_definition(samples: int, hop_seconds: float) -> None:
    track = noise(samples)
    edges, scores = naive(track, hop_seconds)
    found = Model(LocalSession(), batch_size=3).tag(track, RATE_HZ, hop_seconds)
    # An edge lies at a whole step.
    np.testing.assert_allclose(found.edges_seconds, edges, atol=0.5 * STEP / RATE_HZ)
    np.testing.assert_array_equal(found.window_scores, scores)
    assert (found.window_scores.dtype, found.scores.dtype) == (np.float32, np.float32)
    weights = np.diff(found.edges_seconds)
    assert (weights > 0).all()
    assert found.seconds == samples / RATE_HZ
    np.testing.assert_allclose(found.scores, weights @ scores / weights.sum(), rtol=1e-5)


@pytest.mark.parametrize("batch_size", [1, 2, 3, 8, 100])
def test_batched_equals_unbatched(batch_size: int) -> None:
    tracks = [noise(samples, seed) for seed, samples in enumerate(LENGTHS)]
    session = LocalSession()
    batched = Model(session, batch_size=batch_size).tag(tracks, RATE_HZ)
    largest = max(batch for batch, _ in session.runs)
    assert largest == batch_size if batch_size <= 3 else 3 < largest <= batch_size
    for track, found in zip(tracks, batched, strict=True):
        alone = Model(LocalSession()).tag(track, RATE_HZ)
        np.testing.assert_array_equal(found.window_scores, alone.window_scores)
        np.testing.assert_array_equal(found.edges_seconds, alone.edges_seconds)
    assert max(samples for _, samples in session.runs) == WINDOW


def track_tags(scores: list[list[float]], edges: list[float]) -> TrackTags:
    return TrackTags(TAGGING, np.array(edges), np.array(scores, np.float32))


def test_the_tracks_tags_are_its_best_first() -> None:
    track = track_tags([[0.9, 0.1, 0.7], [0.3, 0.1, 0.7]], [0, 1, 4])
    np.testing.assert_allclose(track.scores, [0.45, 0.1, 0.7], rtol=1e-6)
    assert [each.tag for each in track.ranking()] == ["loud", "high", "low"]
    assert [each.tag for each in track.tags()] == ["loud"]
    assert [each.tag for each in track.tags(0.4)] == ["loud", "high"]
    assert track.tags()[0].score == pytest.approx(0.7)
    assert track.tags(0.8) == []


def test_segments_are_runs_of_windows() -> None:
    high = [0.9, 0.5, 0.4, 0.6, 0.1, 0.7]
    loud = [0.0, 0.0, 0.0, 0.6, 0.59, 0.0]
    scores = [[a, 0.2, b] for a, b in zip(high, loud, strict=True)]
    track = track_tags(scores, [0, 1.5, 3, 4, 5, 6, 6.5])
    # 0.6 in single precision is above 0.6.
    assert track.segments() == {
        "high": [Segment(0, 3), Segment(4, 5), Segment(6, 6.5)],
        "loud": [Segment(4, 5)],
    }
    assert track.segments(0) == {tag: [Segment(0, 6.5)] for tag in TAGGING.vocabulary}
    assert track.segments(1) == {}


def test_a_silent_window_has_no_tags_and_no_weight() -> None:
    scores = np.array([[0.9, 0.1, 0.7], [0.8, 0.9, 0.9], [0.3, 0.1, 0.7]], np.float32)
    silent = np.array([False, True, False])
    track = TrackTags(TAGGING, np.array([0.0, 1.0, 5.0, 8.0]), scores, silent=silent)
    assert not track.window_scores[1].any()
    np.testing.assert_allclose(track.scores, [0.45, 0.1, 0.7], rtol=1e-6)
    assert track.silences == [Segment(1, 5)] and not track.is_silent
    assert track.segments(0)["low"] == [Segment(0, 1), Segment(5, 8)]


def test_a_silent_track_has_no_tags_whatever_the_model_says() -> None:
    model = Model(LocalSession(muq_tagging(["high", "low", "loud"], [0, 0, 0], WINDOW_SECONDS)))
    track = model.tag(np.zeros(3 * WINDOW, np.float32), RATE_HZ)
    assert track.is_silent and track.silences == [Segment(0, 3 * WINDOW_SECONDS)]
    assert track.tags() == track.tags(0) == [] and track.segments(0) == {}
    assert not track.scores.any()


@settings(max_examples=200, deadline=None)
@given(st.lists(st.booleans(), min_size=1, max_size=40))
def test_segments_are_the_windows_that_count_and_apart(above: list[bool]) -> None:
    scores = [[float(each), 0.0, 0.0] for each in above]
    track = track_tags(scores, list(range(len(above) + 1)))
    segments = track.segments().get("high", [])
    inside = [
        any(s.start_seconds <= i < s.end_seconds for s in segments) for i in range(len(above))
    ]
    assert inside == above
    assert all(a.end_seconds < b.start_seconds for a, b in pairwise(segments))


@pytest.mark.parametrize("threshold", [-0.1, 1.1, np.nan])
def test_a_threshold_that_is_no_probability(threshold: float) -> None:
    track = track_tags([[0.5] * 3], [0, 1])
    for method in (track.tags, track.segments):
        with pytest.raises(UsageError, match="a probability is between 0 and 1"):
            method(threshold)


def test_one_bad_file_does_not_stop_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    good, cut, text, short = (tmp_path / f"{name}.wav" for name in "abcd")
    soundfile.write(good, noise(3 * WINDOW) / 2, RATE_HZ)
    soundfile.write(cut, noise(5 * WINDOW) / 2, RATE_HZ)
    cut.write_bytes(cut.read_bytes()[: 6 * WINDOW])
    text.write_text("not audio")
    soundfile.write(short, noise(1_000), RATE_HZ)
    monkeypatch.setitem(sys.modules, "av", None)
    model = Model(LocalSession(), batch_size=2)
    paths = [cut, good, text, short, good]
    results = list(model.tag_files(paths))
    assert [path for path, _ in results] == paths
    alone = model.tag(good)
    for path, result in results:
        if path != good:
            assert isinstance(result, AudioError) and str(path) in str(result)
        else:
            assert isinstance(result, TrackTags)
            np.testing.assert_array_equal(result.window_scores, alone.window_scores)
            np.testing.assert_array_equal(result.edges_seconds, alone.edges_seconds)
    with pytest.raises(AudioError, match="cut short"):
        model.tag([good, cut])


def test_a_half_hour_is_tagged_in_little_memory(
    half_hour: Path, memory_of: Callable[..., tuple[Any, int]]
) -> None:
    track, peak_bytes = memory_of(Model(LocalSession(), batch_size=2).tag, half_hour)
    assert len(track.window_scores) == 1799
    assert peak_bytes < 16 << 20


def test_scores_that_are_not_finite_are_refused() -> None:
    class Overflowing(LocalSession):
        def _run(self, inputs: Mapping[str, np.ndarray], outputs: list[str]) -> Arrays:
            results = super()._run(inputs, outputs)
            results["tags"][-1, 1] = np.nan
            return results

    with pytest.raises(SessionError, match=r"NaN or infinite tags for the window at 0\.0 s"):
        Model(Overflowing()).tag(noise(WINDOW), RATE_HZ)


def test_of_a_group_only_the_best_counts_and_nothing_certain_is_unsure() -> None:
    facts = TAGGING.model_dump() | {"vocabulary": ["a", "b", "c"], "thresholds": [0.3, 0.3, 0.8]}
    assert "groups" not in facts  # records without groups, and their hashes, are as before
    tagging = Tagging(**facts | {"groups": [["a", "b"]]})
    assert Tagging.model_validate_json(tagging.model_dump_json()) == tagging
    scores = np.array([[0.5, 0.4, 0.1], [0.31, 0.6, 0.9]], np.float32)
    track = TrackTags(tagging, np.array([0.0, 1.0, 2.0]), scores)
    assert [tag for tag, _ in track.tags()] == ["b"]
    assert {tag: len(found) for tag, found in track.segments().items()} == {"a": 1, "b": 1, "c": 1}
    assert track.guess() is None
    guess = track.guess(threshold=0.9)
    assert track.tags(0.9) == [] and guess is not None and guess.tag == "b"
    with pytest.raises(ValidationError, match="each name must be a tag"):
        Tagging(**facts | {"groups": [["a", "x"]]})


def test_a_model_without_tags_says_how_to_get_them(tiny_bundle: Path, music: Path) -> None:
    with pytest.raises(BundleError, match="muqrt export CHECKPOINT --head"):
        Model(LocalSession(tagging=None)).tag(noise(WINDOW), RATE_HZ)
    with load(tiny_bundle) as model, pytest.raises(BundleError, match="--head"):
        model.tag(music / "greensleeves_duo.flac")


def test_arguments_that_make_no_sense() -> None:
    model = Model(LocalSession())
    with pytest.raises(UsageError, match="pass rate_hz"):
        model.tag(noise(WINDOW))
    with pytest.raises(UsageError, match="at most the window's 2 s"):
        model.tag(noise(WINDOW), RATE_HZ, hop_seconds=2.1)


def test_names_beyond_all_measure_are_refused() -> None:
    facts = TAGGING.model_dump()
    names = [f"tag {index}" for index in range(10_001)]
    with pytest.raises(ValidationError, match="at most 10000"):
        Tagging(**facts | {"vocabulary": names, "thresholds": [0.5] * len(names)})
    Tagging(**facts | {"vocabulary": names[:-1], "thresholds": [0.5] * 10_000})


def test_a_bundles_tags_are_the_references(
    tagged_bundle: Path, tiny_checkpoint: Path, tiny_head: Path, music: Path
) -> None:
    torch = pytest.importorskip("torch")
    from muqrt.reference.checkpoint import load_checkpoint
    from muqrt.reference.head import load_head, pooled
    from muqrt.runtime.audio import read as audio

    waveform = audio.load(music / "ode_to_joy_band.ogg")[:223_457]
    muq, head = load_checkpoint(tiny_checkpoint).model, load_head(tiny_head)
    with load(tagged_bundle, threads=1, batch_size=4) as model:
        found = model.tag(waveform, RATE_HZ, hop_seconds=1.72)
    expected = []
    last = -(-(len(waveform) - WINDOW) // STEP) * STEP
    for start in [*range(0, last, 43 * STEP), last]:
        with torch.inference_mode():
            window = torch.from_numpy(waveform[None, start : start + WINDOW])
            states = muq(window).hidden_states
            statistics = [pooled(states[level]) for level in head.config.levels]
            expected.append(head(torch.stack(statistics, dim=1)).sigmoid()[0].numpy())
    np.testing.assert_allclose(found.window_scores, expected, atol=1e-4)
    assert np.ptp(found.window_scores) > 0.4
