"""Encoded files through a session: the library's tags and embedding, within limits."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from muqrt.errors import AudioError, UsageError
from muqrt.runtime.audio.read import stream
from muqrt.runtime.bundle.manifest import load_bundle
from muqrt.runtime.load import load
from muqrt.runtime.model import Model
from muqrt.triton_repo.contract.limits import Limits
from muqrt.triton_repo.contract.options import ServingOptions
from muqrt.triton_repo.repository.check import check_repository
from muqrt.triton_repo.repository.machine import Machine
from muqrt.triton_repo.repository.track import write_track
from muqrt.triton_repo.repository.write import write_repository
from muqrt.triton_repo.serving.tracks import File, TrackService

BOTH = ["tags", "embedding"]


@pytest.fixture(scope="module")
def model(tagged_bundle: Path) -> Iterator[Model]:
    with load(tagged_bundle, threads=1) as opened:
        yield opened


def read(path: Path) -> np.ndarray:
    return np.fromfile(path, np.uint8)


@pytest.mark.parametrize("name", ["bach_prelude_c.mp3", "greensleeves_duo.flac"])
def test_a_file_is_answered_as_by_the_library(name: str, model: Model, music: Path) -> None:
    service = TrackService(model.session, 1)
    (found,) = service.answer([File(read(music / name), BOTH)])
    assert isinstance(found, dict)
    assert np.array_equal(found["tags"], model.tag(music / name).scores)
    assert np.array_equal(found["embedding"], model.embed(music / name))


def test_a_file_is_decoded_once(model: Model, music: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []

    def counted(path: object, *others: Any) -> Iterator[np.ndarray]:
        asked.append(path)
        return stream(path, *others)

    monkeypatch.setattr("muqrt.runtime.audio.read.stream", counted)
    file = File(read(music / "bach_prelude_c.mp3"), BOTH)
    (found,) = TrackService(model.session, 1).answer([file])
    assert isinstance(found, dict) and len(asked) == 1


def test_a_bad_file_does_not_concern_the_others(model: Model, music: Path) -> None:
    flac = read(music / "greensleeves_duo.flac")
    limits = Limits(max_track_seconds=5.0, max_file_bytes=len(flac))
    files = [np.zeros(9, np.uint8), np.zeros(0, np.uint8), np.zeros(len(flac) + 1, np.uint8), flac]
    reasons = ["audio: not audio", "audio: the file is empty", "max_file_bytes", "longer than 5 s"]
    for wanted in (BOTH, BOTH[:1]):
        found = TrackService(model.session, 1, limits).answer(
            [File(each, wanted) for each in files]
        )
        for each, reason in zip(found, reasons, strict=True):
            assert isinstance(each, AudioError) and reason in str(each)
    usual = TrackService(model.session, 1).answer([File(flac, ["tags"])])
    assert isinstance(usual[0], dict)


def test_what_is_written_passes_the_check(tagged_bundle: Path, tmp_path: Path) -> None:
    pytest.importorskip("tritonclient.grpc")
    bundle, options = load_bundle(tagged_bundle), ServingOptions()
    write_repository(bundle, tmp_path, options=options)
    write_track(bundle, tmp_path, bundle.artefact(), "muq", "track", options)
    checks = check_repository(tmp_path, bundle, Machine(None, ()))
    assert {each.model: each.problems for each in checks} == {"muq": [], "track": []}
    (tmp_path / "muq").rename(tmp_path / "other")
    problems = {
        each.model: each.problems for each in check_repository(tmp_path, bundle, Machine(None, ()))
    }
    assert "muq" in problems["track"][0]


def test_it_needs_something_to_answer_with(tagged_bundle: Path, tmp_path: Path) -> None:
    pytest.importorskip("tritonclient.grpc")
    bundle, options = load_bundle(tagged_bundle), ServingOptions(outputs=("embedding",))
    with pytest.raises(UsageError, match="--track needs the output tags"):
        write_track(bundle, tmp_path, bundle.artefact(), "muq", "track", options)
