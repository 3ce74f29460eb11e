"""Tags, tokens, scores and mixes from a real server are the local ones; clients need no bundle."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

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

SONGS = ("greensleeves_duo.flac", "bach_prelude_c.mp3")


@pytest.fixture(scope="module")
def bundles(
    tagged_bundle: Path, token_bundle: Path, scored_bundle: Path, tiny_bundle: Path
) -> dict[str, Path]:
    """A bundle of each kind, by the name of its served model."""
    return {
        "tags": tagged_bundle,
        "tokens": token_bundle,
        "scores": scored_bundle,
        "plain": tiny_bundle,
    }


@pytest.fixture(scope="module")
def outputs_server(
    bundles: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    """A real server with all of them."""
    folder = tmp_path_factory.mktemp("outputs")
    for name, bundle in bundles.items():
        write_repository(load_bundle(bundle), folder / "models", model_name=name)
    with Server(folder / "models", log=folder / "log", start_timeout_seconds=120) as running:
        yield running


@pytest.mark.parametrize(
    ("model", "ask", "meaning"),
    [("tags", Model.tag, "tagging"), ("tokens", Model.tokens, "tokenizer")],
)
def test_served_outputs_equal_local_ones(
    outputs_server: Server,
    bundles: dict[str, Path],
    music: Path,
    model: str,
    ask: Callable[..., list[Any]],
    meaning: str,
) -> None:
    songs = [music / name for name in SONGS]
    with load(bundles[model]) as local:
        expected = ask(local, songs)
    with Model(TritonSession(outputs_server.grpc_url, model), batch_size=3) as served:
        assert getattr(served.session, meaning) == getattr(load_bundle(bundles[model]), meaning)
        found = ask(served, songs)
    for ours, theirs in zip(found, expected, strict=True):
        if model == "tokens":
            assert ours.dtype == np.int32
            np.testing.assert_array_equal(ours, theirs)
        else:
            np.testing.assert_array_equal(ours.edges_seconds, theirs.edges_seconds)
            np.testing.assert_allclose(ours.window_scores, theirs.window_scores, atol=1e-5)


def test_a_served_mix_and_served_scores(
    muqrt: Command, outputs_server: Server, scored_bundle: Path, music: Path
) -> None:
    songs = [music / name for name in SONGS]
    with load(scored_bundle) as local:
        expected, mixed = local.score(songs), local.embed(songs, level="mix")
    with Model(TritonSession(outputs_server.grpc_url, "scores"), batch_size=3) as served:
        found = served.score(songs)
        np.testing.assert_allclose(served.embed(songs, level="mix"), mixed, atol=1e-5)
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.scoring == theirs.scoring
        np.testing.assert_array_equal(ours.edges_seconds, theirs.edges_seconds)
        np.testing.assert_allclose(ours.window_scores, theirs.window_scores, atol=1e-5)
    server = ["--server", outputs_server.grpc_url, "--model", "scores"]
    facts = json.loads(muqrt("score", songs[0], *server, "--json").stdout)
    assert facts["results"][0]["scores"] == pytest.approx(expected[0].by_label(), abs=1e-5)
    done = muqrt("embed", songs[0], *server, "--level", "mix", "--json")
    embedding = json.loads(done.stdout)["results"][0]["embedding"]
    np.testing.assert_allclose(embedding, mixed[0], atol=1e-5)


def test_clients_choose_among_the_outputs(outputs_server: Server, music: Path) -> None:
    waveform = audio.load(music / SONGS[0])[None, :33_333]
    with TritonSession(outputs_server.grpc_url, "tokens") as session:
        alone = session.run({"waveform": waveform}, ["tokens"])
        both = session.run({"waveform": waveform}, ["tokens", "features"])
    assert list(alone) == ["tokens"]
    assert (both["tokens"].shape, both["features"].shape) == ((1, 8, 34), (1, 35, 32))
    np.testing.assert_array_equal(alone["tokens"], both["tokens"])


def test_muqrt_tag_needs_no_bundle(
    muqrt: Command, outputs_server: Server, tagged_bundle: Path, music: Path
) -> None:
    server = ["--server", outputs_server.grpc_url, "--model", "tags"]
    places = (server, ["--bundle", tagged_bundle])
    given = ["tag", music / SONGS[0], "--json"]
    served, local = (json.loads(muqrt(*given, *place).stdout) for place in places)
    assert served["thresholds"] == local["thresholds"]
    (ours,), (expected,) = served["results"], local["results"]
    assert ours["scores"] == pytest.approx(expected["scores"], abs=1e-5)
    assert ours["tags"].keys() == expected["tags"].keys()


def test_muqrt_tokens_needs_no_bundle(
    muqrt: Command, outputs_server: Server, token_bundle: Path, music: Path, tmp_path: Path
) -> None:
    server = ["--server", outputs_server.grpc_url, "--model", "tokens"]
    for number, place in enumerate((server, ["--bundle", token_bundle])):
        done = muqrt("tokens", music, *place, "-o", tmp_path / f"{number}.npz")
        assert done.returncode == 0, done.stderr
    with np.load(tmp_path / "0.npz") as served, np.load(tmp_path / "1.npz") as local:
        assert list(served) == list(local)
        for name in served:
            np.testing.assert_array_equal(served[name], local[name])


@pytest.mark.parametrize(
    ("ask", "cure"),
    [
        (Model.tag, "--head"),
        (Model.tokens, "--outputs embedding,tokens"),
        (Model.score, "--head FILE"),
    ],
)
def test_a_served_model_without_them_says_so(
    outputs_server: Server, music: Path, ask: Callable[..., object], cure: str
) -> None:
    session = TritonSession(outputs_server.grpc_url, "plain")
    with Model(session) as model, pytest.raises(BundleError, match=cure):
        ask(model, music / SONGS[0])
