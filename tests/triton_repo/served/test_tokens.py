"""Tokens from a real server are the local ones, alone or beside the other outputs."""

from collections.abc import Callable, Iterator
from pathlib import Path
from subprocess import CompletedProcess

import numpy as np
import pytest

from muqrt.errors import BundleError
from muqrt.runtime.audio import read as audio
from muqrt.runtime.bundle.manifest import load_bundle
from muqrt.runtime.load import load
from muqrt.runtime.model import Model
from muqrt.triton_repo.client.session import TritonSession
from muqrt.triton_repo.repository.write import write_repository
from muqrt.triton_repo.server.process import Server

pytestmark = [pytest.mark.server, pytest.mark.slow]

Command = Callable[..., CompletedProcess[str]]


@pytest.fixture(scope="module")
def token_server(
    token_bundle: Path, tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    """A real server with a model that has tokens, ``muq``, and one that has none, ``plain``."""
    folder = tmp_path_factory.mktemp("tokens")
    write_repository(load_bundle(token_bundle), folder / "models")
    write_repository(load_bundle(tiny_bundle), folder / "models", model_name="plain")
    with Server(folder / "models", log=folder / "log", start_timeout_seconds=120) as running:
        yield running


def test_served_tokens_equal_local_ones(
    token_server: Server, token_bundle: Path, music: Path
) -> None:
    songs = [music / name for name in ("greensleeves_duo.flac", "bach_prelude_c.mp3")]
    with load(token_bundle) as model:
        expected = model.tokens(songs)
    with Model(TritonSession(token_server.grpc_url), batch_size=3) as model:
        assert model.session.tokenizer == load_bundle(token_bundle).tokenizer
        found = model.tokens(songs)
    for ours, local in zip(found, expected, strict=True):
        assert ours.dtype == np.int32
        np.testing.assert_array_equal(ours, local)


def test_clients_choose_among_the_outputs(token_server: Server, music: Path) -> None:
    waveform = audio.load(music / "greensleeves_duo.flac")[None, :33_333]
    with TritonSession(token_server.grpc_url) as session:
        alone = session.run({"waveform": waveform}, ["tokens"])
        both = session.run({"waveform": waveform}, ["tokens", "features"])
    assert list(alone) == ["tokens"]
    assert (both["tokens"].shape, both["features"].shape) == ((1, 8, 34), (1, 35, 32))
    np.testing.assert_array_equal(alone["tokens"], both["tokens"])


def test_the_command_needs_no_bundle(
    muqrt: Command, token_server: Server, token_bundle: Path, music: Path, tmp_path: Path
) -> None:
    places = (["--server", token_server.grpc_url], ["--bundle", token_bundle])
    for number, place in enumerate(places):
        done = muqrt("tokens", music, *place, "-o", tmp_path / f"{number}.npz")
        assert done.returncode == 0, done.stderr
    with np.load(tmp_path / "0.npz") as served, np.load(tmp_path / "1.npz") as local:
        assert list(served) == list(local)
        for name in served:
            np.testing.assert_array_equal(served[name], local[name])


def test_a_served_model_without_tokens_says_so(token_server: Server, music: Path) -> None:
    session = TritonSession(token_server.grpc_url, "plain")
    with Model(session) as model, pytest.raises(BundleError, match="--outputs embedding,tokens"):
        model.tokens(music / "greensleeves_duo.flac")
