"""Files in, answers out: the same as the command's, to the last bit."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from subprocess import CompletedProcess

import numpy as np
import pytest

from muqrt.gateway.server import Backend, Gateway
from muqrt.runtime.bundle.shipped import SHIPPED_BUNDLE
from muqrt.runtime.load import load, open_bundle

from .conftest import Start, ask, form


@pytest.fixture(scope="module")
def mini() -> Iterator[Gateway]:
    """A gateway to the bundle that comes with the package."""
    with (
        open_bundle(SHIPPED_BUNDLE, threads=1) as session,
        Gateway(Backend(session, "muq-mini")) as gateway,
    ):
        yield gateway


def test_tags_are_those_of_the_command(
    tagged_bundle: Path, music: Path, muqrt: Callable[..., CompletedProcess[str]]
) -> None:
    files = sorted(path for path in music.iterdir() if path.suffix != ".md")
    assert len(files) == 4
    told = json.loads(muqrt("tag", "-b", tagged_bundle, *files, "--threads", 1, "--json").stdout)
    assert told.pop("skipped") == []
    for each in told["results"]:
        each["audio"] = Path(each["audio"]).name
    body, header = form([(path.name, path.read_bytes()) for path in files])
    with (
        open_bundle(tagged_bundle, threads=1) as session,
        Gateway(Backend(session, told["model"])) as gateway,
    ):
        assert ask(gateway, body=body, **header)[:2] == (200, told)


def test_one_file_is_the_body_itself(
    mini: Gateway, clip: Path, muqrt: Callable[..., CompletedProcess[str]]
) -> None:
    query = ("--threshold", 0.25, "--hop-seconds", 2.5)
    told = json.loads(muqrt("tag", clip, "--threads", 1, "--json", *query).stdout)["results"]
    # As curl --data-binary sends it.
    kind = "application/x-www-form-urlencoded"
    path = "/v1/tags?threshold=0.25&hop_seconds=2.5"
    status, found, _ = ask(mini, path, clip.read_bytes(), content_type=kind)
    assert (status, found["results"]) == (200, [{**told[0], "audio": "audio"}])
    pieces = iter([clip.read_bytes()[:1000], clip.read_bytes()[1000:]])
    chunked = ask(mini, path, pieces, transfer_encoding="chunked")
    assert chunked[:2] == (status, found)


def test_embeddings_tokens_and_similarity_are_the_models(
    mini: Gateway, clip: Path, music: Path
) -> None:
    other = music / "bach_prelude_c.mp3"
    with load(threads=1) as model:
        vectors, tokens = model.embed([clip, other]), model.tokens(clip)
    body = clip.read_bytes()
    embedding = ask(mini, "/v1/embeddings", body)[1]["results"][0]["embedding"]
    assert np.array_equal(np.array(embedding, np.float32), vectors[0])
    found = ask(mini, "/v1/tokens", body)[1]
    assert (found["stages"], found["steps_per_second"]) == (8, 25.0)
    assert found["results"][0]["tokens"] == tokens.tolist()
    pair, header = form([("a.wav", body), ("b.mp3", other.read_bytes()), ("c.wav", body)])
    alike = ask(mini, "/v1/similarity", pair, **header)[1]
    assert [each["audio"] for each in alike["results"]] == ["b.mp3", "c.wav"]
    lengths = np.linalg.norm(vectors, axis=1)
    cosine = float(vectors[0] @ vectors[1] / lengths.prod())
    assert [each["cosine"] for each in alike["results"]] == pytest.approx([cosine, 1.0], abs=1e-6)


def test_a_bad_file_among_good_ones_is_told_and_does_not_stop_them(
    start: Start, clip: Path
) -> None:
    body, header = form([("../../good.wav", clip.read_bytes()), ("bad.mp3", b"no audio" * 99)])
    status, found, _ = ask(start(), body=body, **header)
    good, bad = found["results"]
    assert (status, good["audio"], bad["audio"]) == (200, "good.wav", "bad.mp3")
    assert "tags" in good and bad["error"].startswith("bad.mp3: not audio")


def test_what_a_model_does_not_give_is_not_found(start: Start, clip: Path) -> None:
    status, found, _ = ask(start(), "/v1/tokens", clip.read_bytes())
    assert (status, found) == (404, {"error": "this model has no tokens."})


def test_damage_is_told(mini: Gateway, music: Path) -> None:
    whole = (music / "greensleeves_duo.flac").read_bytes()
    found = ask(mini, "/v1/tokens", whole[: len(whole) * 19 // 20])[1]
    assert found["results"][0]["damage"]["lost_seconds"] > 0
