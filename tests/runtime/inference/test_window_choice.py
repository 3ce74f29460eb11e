"""Which windows a track is cut into: the caller's choice, refused where there is none, recorded."""

import numpy as np
import pytest

from muqrt.errors import AudioError, UsageError
from muqrt.runtime.inference import windows as module
from muqrt.runtime.inference.windows import WindowingConfig, WindowLength, window_length
from muqrt.runtime.model import Model

from ...framing import muq_framing
from ..test_model import RATE_HZ, WINDOW, LocalSession, local_features, noise

FRAMING = muq_framing(WINDOW)


def test_a_whole_track_is_one_run() -> None:
    session, track = LocalSession(), noise(5 * WINDOW + 7_777)
    features = Model(session).features(track, RATE_HZ, window="whole")
    assert session.runs == [(1, len(track))]
    np.testing.assert_array_equal(features, local_features(track[None])[0])
    embedding = Model(session).embed(track, RATE_HZ, window="whole")
    np.testing.assert_allclose(embedding, features.mean(axis=0), rtol=1e-5)
    assert session.asked[-1] == "embedding"


def test_windows_of_other_seconds() -> None:
    session, track = LocalSession(), noise(5 * WINDOW)
    features = Model(session, overlap_seconds=0).features(track, RATE_HZ, window=10.0)
    assert session.runs == [(1, 10 * RATE_HZ)] * 2
    np.testing.assert_array_equal(features, local_features(track[None])[0])


def test_a_whole_track_that_is_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LONGEST_SECONDS", 8.0)
    session = LocalSession()
    with pytest.raises(AudioError, match=r"longer than 8 s.*give the window in seconds"):
        Model(session).features(noise(9 * RATE_HZ), RATE_HZ, window="whole")
    assert not session.runs
    assert len(Model(session).features(noise(8 * RATE_HZ), RATE_HZ, window="whole")) == 200


@pytest.mark.parametrize("window", [0, -1.0, 0.5, 1e9, float("nan"), float("inf"), "all", True])
def test_no_such_window(window: WindowLength) -> None:
    with pytest.raises(UsageError, match="give seconds"):
        Model(LocalSession()).features(noise(WINDOW), RATE_HZ, window=window)


def test_a_whole_track_has_no_overlap() -> None:
    with pytest.raises(UsageError, match="one window: leave the overlap out"):
        Model(LocalSession(), overlap_seconds=1.0).embed(noise(WINDOW), RATE_HZ, window="whole")


@pytest.mark.parametrize("method", ["tag", "embed_audio"])
def test_where_there_is_no_choice(method: str) -> None:
    with pytest.raises(UsageError, match="clips of the length that they were trained on"):
        getattr(Model(LocalSession()), method)(noise(WINDOW), RATE_HZ, window="whole")


def test_what_is_recorded() -> None:
    model = Model(LocalSession())
    assert model.windowing().facts == {"window_seconds": 4.0, "overlap_seconds": 1.0}
    assert model.windowing(20.0).facts == {"window_seconds": 20.0, "overlap_seconds": 2.0}
    assert model.windowing("whole").facts == {"window_seconds": "whole", "overlap_seconds": 0.0}
    given = WindowingConfig.of(FRAMING, overlap_seconds=0.5)
    assert given.facts == {"window_seconds": 4.0, "overlap_seconds": 0.48}


def test_windows_on_a_command_line() -> None:
    assert [window_length(text) for text in (None, "whole", "12.5")] == [None, "whole", 12.5]
    with pytest.raises(UsageError, match="--window 'long': give seconds, or whole"):
        window_length("long")


def test_a_batch_is_not_averaged_as_channels() -> None:
    batch = np.stack([noise(RATE_HZ, seed) for seed in range(9)])
    for method in ("embed", "features", "tag", "tokens", "embed_audio"):
        with pytest.raises(UsageError, match=r"shape \(9, 24000\).*list\(batch\)"):
            getattr(Model(LocalSession()), method)(batch, RATE_HZ)
    model = Model(LocalSession(), batch_size=9)
    alone = [model.embed(track, RATE_HZ) for track in batch]
    np.testing.assert_allclose(model.embed(list(batch), RATE_HZ), alone, rtol=1e-6)
    surround = model.embed(batch[:8], RATE_HZ)  # up to eight are channels
    np.testing.assert_allclose(surround, model.embed(batch[:8].mean(axis=0), RATE_HZ), atol=1e-6)
