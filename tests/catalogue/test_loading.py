"""Tracks loaded in advance: in order, and no more than fit."""

from pathlib import Path
from threading import Lock

import numpy as np
import pytest
import soundfile

from muqrt.catalogue.loading import (
    FailedTrack,
    LoadedTrack,
    in_flight,
    load_track,
    loaded_ahead,
)
from muqrt.errors import MissingDependencyError

from ..until import until

SAMPLES = 100


class Loader:
    """Loads tracks of 400 bytes, and counts them."""

    def __init__(self) -> None:
        self.begun = self.loaded = 0
        self._lock = Lock()

    def __call__(self, item: int) -> LoadedTrack | FailedTrack:
        with self._lock:
            self.begun += 1
        samples = np.zeros(SAMPLES, np.float32)
        track = LoadedTrack(str(item), samples, 24_000, "", 0, None, 1.0, 0.0)
        with self._lock:
            self.loaded += 1
        return track if item % 3 else FailedTrack(str(item), "audio", "bad")


def held(threads: int, most_bytes: int) -> list[int]:
    """How many tracks are loaded and not used yet, whenever one is, once all threads rest."""
    loader, found, used = Loader(), list[int](), 0
    for item, track in loaded_ahead(range(30), loader, threads, most_bytes):
        assert (item, track.key) == (used, str(used))
        used += 1
        until(lambda: loader.begun == loader.loaded)
        assert loader.begun - used < in_flight(threads)
        found.append(loader.begun - used)
    assert used == 30
    return found


def test_tracks_come_in_order_and_no_more_ahead_than_may_be_in_flight() -> None:
    assert max(held(2, 1 << 30)) <= in_flight(2) - 2


def test_a_budget_of_bytes_holds_the_threads_back() -> None:
    # The first ones are begun before it is known how large a track is.
    assert max(held(4, 4 * SAMPLES)[in_flight(4) :]) <= 3


def test_a_long_track_is_not_held(tmp_path: Path) -> None:
    path = tmp_path / "long.flac"
    soundfile.write(path, np.zeros(1000 * 901, np.float32), 1000)
    track = load_track(str(path), 24_000, 0.2, tmp_path)
    assert isinstance(track, LoadedTrack)
    assert (track.audio, track.rate_hz, track.bytes) == (path, None, 0)
    assert track.seconds == 901


def test_a_format_that_nothing_here_decodes_is_the_files_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(*options: object) -> object:
        raise MissingDependencyError("reading .m4a needs av.")

    monkeypatch.setattr("muqrt.catalogue.loading.stream", missing)
    (tmp_path / "a.m4a").write_bytes(b"m4a")
    found = load_track(f"file://{tmp_path}/a.m4a", 24_000, 0.2, tmp_path)
    assert isinstance(found, FailedTrack)
    assert (found.kind, found.reason) == ("audio", "reading .m4a needs av.")


def test_a_long_query_is_no_part_of_a_files_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetched = []

    def fetch(key: str, copy: Path) -> None:
        fetched.append(copy)
        soundfile.write(copy, np.full(24_000, 0.1), 24_000)

    monkeypatch.setattr("muqrt.catalogue.loading.fetch", fetch)
    key = f"https://host/a.wav?signature={'f' * 300}.b"
    assert isinstance(load_track(key, 24_000, 0.2, tmp_path), LoadedTrack)
    assert [each.suffix for each in fetched] == [".wav"]
