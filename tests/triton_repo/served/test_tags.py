"""Tags from a real server are the local ones, and need no bundle on the client's side."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from subprocess import CompletedProcess

import numpy as np
import pytest

from muqrt.errors import BundleError
from muqrt.runtime.bundle.manifest import load_bundle
from muqrt.runtime.load import load
from muqrt.runtime.model import Model
from muqrt.triton_repo.client.session import TritonSession
from muqrt.triton_repo.repository.write import write_repository
from muqrt.triton_repo.server.process import Server

pytestmark = pytest.mark.server

Command = Callable[..., CompletedProcess[str]]


@pytest.fixture(scope="module")
def tag_server(
    tagged_bundle: Path, tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    """A real server with a tagger, ``muq``, and a model without tags, ``plain``."""
    folder = tmp_path_factory.mktemp("tags")
    write_repository(load_bundle(tagged_bundle), folder / "models")
    write_repository(load_bundle(tiny_bundle), folder / "models", model_name="plain")
    with Server(folder / "models", log=folder / "log", start_timeout_seconds=120) as running:
        yield running


def test_served_tags_equal_local_ones(tag_server: Server, tagged_bundle: Path, music: Path) -> None:
    songs = [music / name for name in ("greensleeves_duo.flac", "bach_prelude_c.mp3")]
    with load(tagged_bundle) as model:
        expected = model.tag(songs)
    with Model(TritonSession(tag_server.grpc_url), batch_size=3) as model:
        assert model.session.tagging == load_bundle(tagged_bundle).tagging
        found = model.tag(songs)
    for ours, local in zip(found, expected, strict=True):
        np.testing.assert_array_equal(ours.edges_seconds, local.edges_seconds)
        np.testing.assert_allclose(ours.window_scores, local.window_scores, atol=1e-5)


def test_the_command_needs_no_bundle(
    muqrt: Command, tag_server: Server, tagged_bundle: Path, music: Path
) -> None:
    song = music / "greensleeves_duo.flac"
    places = (["--server", tag_server.grpc_url], ["--bundle", tagged_bundle])
    served, local = (json.loads(muqrt("tag", song, *place, "--json").stdout) for place in places)
    assert served["thresholds"] == local["thresholds"]
    (ours,), (expected,) = served["results"], local["results"]
    assert ours["scores"] == pytest.approx(expected["scores"], abs=1e-5)
    assert ours["tags"].keys() == expected["tags"].keys()


def test_a_served_model_without_tags_says_so(tag_server: Server, music: Path) -> None:
    session = TritonSession(tag_server.grpc_url, "plain")
    with Model(session) as model, pytest.raises(BundleError, match="--head"):
        model.tag(music / "greensleeves_duo.flac")
