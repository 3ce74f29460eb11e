"""Several tracks at once: the same results in the same order as one after another."""

import threading
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pytest

from muqrt.errors import AudioError, SessionError
from muqrt.runtime.audio.tracks import Track, one_track
from muqrt.runtime.bundle.manifest import load_bundle
from muqrt.runtime.bundle.shipped import SHIPPED_BUNDLE
from muqrt.runtime.engines.onnxruntime.session import OnnxSession
from muqrt.runtime.inference.at_once import at_once
from muqrt.runtime.inference.runner import OnWindow
from muqrt.runtime.inference.windows import Window
from muqrt.runtime.load import load

Found = Iterator[tuple[Track, int | AudioError]]
TRACKS = [one_track(np.zeros(number, np.float32), 24_000) for number in range(9)]


def lengths(tracks: Iterable[Track], on_window: OnWindow | None) -> Found:
    """Of each track its length, after as many windows; length 4 is no audio."""
    for track in tracks:
        assert isinstance(track.source, np.ndarray)
        samples = len(track.source)
        for step in range(samples):
            if on_window is not None:
                on_window(Window(step, 1, track.source, range(step, step + 1), False))
        yield track, AudioError("no audio") if samples == 4 else samples


@pytest.mark.parametrize("most", [1, 2, 3])
def test_results_and_windows_come_in_order(most: int) -> None:
    windows: list[int] = []

    def heard(window: Window) -> None:
        windows.append(window.start_step)
        # One that waits for the tracks before keeps no samples, its own or others'.
        assert most == 1 or (window.waveform.size == 0 and window.waveform.base is None)

    found = at_once(lengths, TRACKS, most, heard)
    results = [(track, str(result)) for track, result in found]
    expected = ["no audio" if number == 4 else str(number) for number in range(9)]
    assert results == list(zip(TRACKS, expected, strict=True))
    assert windows == [step for number in range(9) for step in range(number)]


def test_two_tracks_run_at_the_same_time() -> None:
    meeting = threading.Barrier(2, timeout=60)

    def together(tracks: Iterable[Track], on_window: OnWindow | None) -> Found:
        for track in tracks:
            meeting.wait()
            yield track, 0

    assert len(list(at_once(together, TRACKS[:4], 2))) == 4


def test_an_engines_failure_is_raised_and_ends_the_rest() -> None:
    seen: list[int] = []

    def failing(tracks: Iterable[Track], on_window: OnWindow | None) -> Found:
        for track, length in lengths(tracks, on_window):
            seen.append(length if isinstance(length, int) else 0)
            if length == 1:
                raise SessionError("no such output")
            yield track, length

    with pytest.raises(SessionError, match="no such output"):
        list(at_once(failing, iter(TRACKS * 50), 2))
    assert len(seen) < 20


def test_only_a_few_tracks_are_read_ahead() -> None:
    taken: list[Track] = []

    def endless() -> Iterator[Track]:
        while True:
            taken.append(TRACKS[2])
            yield TRACKS[2]

    found = at_once(lengths, endless(), 2)
    assert [next(found)[1] for _ in range(3)] == [2, 2, 2]
    assert len(taken) <= 10
    found.close()  # type: ignore[attr-defined] - a generator: its threads end
    assert not [each for each in threading.enumerate() if each.name.startswith("track")]


@pytest.mark.parametrize(("threads", "runs"), [(1, 1), (2, 2), (3, 1), (4, 2)])
def test_no_thread_is_left_over(threads: int, runs: int) -> None:
    bundle = load_bundle(SHIPPED_BUNDLE)
    with OnnxSession(bundle, bundle.artefact(), threads, runs_at_once=2) as session:
        assert session.runs_at_once == runs


def test_a_model_gives_the_same_embeddings(music: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.flac"
    broken.write_bytes(b"no music")
    pieces = sorted(music.glob("*.flac")) + sorted(music.glob("*.ogg"))
    paths = [*pieces, broken, *pieces]
    with load(threads=2) as one, load(threads=2, runs_at_once=2) as two:
        alone, together = list(one.embed_files(paths)), list(two.embed_files(paths))
        assert two.session.runs_at_once == 2
    assert [path for path, _ in together] == paths
    for (_, first), (_, second) in zip(alone, together, strict=True):
        if isinstance(first, AudioError):
            assert str(second) == str(first)
        else:
            assert isinstance(second, np.ndarray)
            np.testing.assert_allclose(second, first, rtol=0, atol=1e-5)
