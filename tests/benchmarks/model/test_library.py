"""Songs an hour by hand, the songs themselves, and what is made of the embeddings."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
import soundfile

from muqrt.benchmarks.measure.timing import EAGER
from muqrt.benchmarks.model import library
from muqrt.benchmarks.model.library import (
    measure_library,
    muqrt_embed,
    official_loop,
    songs_per_hour,
    write_songs,
)
from muqrt.errors import AudioError
from muqrt.reference.checkpoint import load_checkpoint
from muqrt.runtime.bundle.manifest import load_bundle


def test_songs_an_hour_by_hand() -> None:
    # 2 songs of 3 minutes in 6 minutes are 60 minutes of music in an hour: 17.14 of 3.5 minutes.
    assert songs_per_hour(360, 360) == pytest.approx(60 / 3.5)
    assert songs_per_hour(360, 36) == pytest.approx(600 / 3.5)


@pytest.fixture
def songs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    monkeypatch.setattr(library, "SONG_SECONDS", 3.0)
    return write_songs(tmp_path, 2)


def test_the_songs_are_stereo_and_different(songs: list[Path]) -> None:
    samples = [soundfile.read(path)[0] for path in songs]
    assert [soundfile.info(path).format for path in songs] == ["MP3"] * 3
    for each in samples:
        assert each.shape[1] == 2
        assert 3.0 <= len(each) / 44_100 < 3.2
        assert np.abs(each).max() > 0.01
    assert len({each[44_100:88_200].tobytes() for each in samples}) == 3


def test_pieces_weigh_by_their_length(tiny_checkpoint: Path, songs: list[Path]) -> None:
    model = load_checkpoint(tiny_checkpoint).model
    seen: list[int] = []
    model.register_forward_pre_hook(lambda module, arguments: seen.append(arguments[0].shape[1]))
    (found,) = official_loop(model, 6, 1, 1.25)(songs[1:2])
    assert seen[:2] == [30_000, 30_000] and len(seen) == 3
    assert 12_000 <= seen[2] <= 15_000
    assert found.shape == (32,)
    samples = sum(seen)
    seen.clear()
    (whole,) = official_loop(model, 6, 1, None)(songs[1:2])
    assert seen == [samples] and whole.shape == (32,)


def test_a_song_that_cannot_be_read_is_no_result(tiny_bundle: Path, tmp_path: Path) -> None:
    bundle = load_bundle(tiny_bundle)
    with pytest.raises(AudioError):
        list(muqrt_embed(bundle, bundle.artefact(), 1)([tmp_path / "none.mp3"]))


def test_everyone_embeds_every_song_but_the_first() -> None:
    asked: list[Sequence[Path]] = []

    def giving(*vector: float) -> library.Embed:
        def embed(paths: Sequence[Path]) -> Iterator[np.ndarray]:
            asked.append(paths)
            yield from (np.array(vector) for _ in paths)

        return embed

    paths = [Path("warm-up"), Path("a"), Path("b")]
    seen: list[str] = []
    embeds = {EAGER: giving(1.0, 0.0), "ours": giving(3.0, 4.0)}
    official, ours = measure_library(embeds, paths, seen.append)
    assert asked == [paths[:1], paths[1:]] * 2
    assert seen == [f"library: {EAGER}"] * 2 + ["library: ours"] * 2
    assert (official.speedup, official.worst_cosine) == (1.0, 1.0)
    assert ours.worst_cosine == pytest.approx(0.6)
    assert len(ours.songs_seconds) == 2
    assert ours.songs_per_hour == pytest.approx(ours.speedup * official.songs_per_hour)
