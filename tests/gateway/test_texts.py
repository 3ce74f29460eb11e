"""Labels to tag with and texts to compare with: answers as the command and the model give them."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any
from urllib.parse import urlencode

import numpy as np
import pytest

from muqrt.gateway.limits import GatewayLimits
from muqrt.gateway.server import Backend, Gateway, GatewayConfig
from muqrt.gateway.texts import local_texts
from muqrt.runtime.load import load, open_bundle
from muqrt.runtime.text.encoder import open_text_encoder

from .conftest import Start, ask, form

LABELS = ["jazz piano", "重金属", "a walk by the sea"]


@pytest.fixture(scope="module")
def mulan(worded_bundle: Path) -> Iterator[Gateway]:
    """A gateway to a MuQ-MuLan."""
    texts = local_texts(lambda: open_text_encoder(worded_bundle, threads=1))
    config = GatewayConfig(limits=GatewayLimits(texts=5))
    with (
        open_bundle(worded_bundle, threads=1) as session,
        Gateway(Backend(session, session.checkpoint, texts=texts), config=config) as gateway,
    ):
        yield gateway


def test_labels_are_those_of_the_command(
    mulan: Gateway, worded_bundle: Path, clip: Path, muqrt: Callable[..., CompletedProcess[str]]
) -> None:
    words = ["--threshold", 0.2, "--threads", 1, "--no-cache", "--json", "--labels", *LABELS]
    done = muqrt("tag", clip, "-b", worded_bundle, *words)
    told = json.loads(done.stdout)
    told["results"][0]["audio"] = "audio"
    assert told.pop("skipped") == []
    assert told["unlearned_words"] == ["重金属", "walk", "sea"]
    query = urlencode({"threshold": 0.2, "labels": LABELS}, doseq=True)
    assert ask(mulan, f"/v1/tags?{query}", clip.read_bytes())[:2] == (200, told)
    body, header = form([("audio", clip.read_bytes())], labels=LABELS)
    assert ask(mulan, "/v1/tags?threshold=0.2", body, **header)[:2] == (200, told)


def test_texts_are_compared_with_the_first_file(
    mulan: Gateway, mulan_bundle: Path, clip: Path, music: Path
) -> None:
    other = music / "bach_prelude_c.mp3"
    with load(mulan_bundle, threads=1) as model:
        cosines = model.similarity(clip, LABELS)
        pair = model.embed_audio([clip, other])
    pair /= np.linalg.norm(pair, axis=1, keepdims=True)
    files = [("a.wav", clip.read_bytes()), ("b.mp3", other.read_bytes())]
    body, header = form(files, texts=LABELS)
    status, found, _ = ask(mulan, "/v1/similarity", body, **header)
    assert (status, found["audio"]) == (200, "a.wav")
    first, *others = found["results"]
    assert first == {"audio": "b.mp3", "cosine": pytest.approx(float(pair[0] @ pair[1]), abs=1e-6)}
    assert [each["text"] for each in others] == LABELS
    assert [each["cosine"] for each in others] == pytest.approx(cosines.tolist(), abs=1e-6)


def test_pages_are_told_that_labels_are_theirs_to_name(mulan: Gateway) -> None:
    found = ask(mulan, "/v1/model", method="GET")[1]
    assert (found["task"], found["vocabulary"], found["window_seconds"]) == ("zero-shot", [], 10)


@pytest.mark.parametrize(
    ("status", "reason", "path", "texts"),
    [
        (400, "given twice", "/v1/tags", ["a", "a"]),
        (400, "empty", "/v1/tags", [" "]),
        (400, "cannot be printed", "/v1/tags", ["a\nb"]),
        (400, "hop_seconds", "/v1/tags?hop_seconds=1", ["a"]),
        (413, "5 texts", "/v1/tags", list("abcdef")),
        (413, "64 KiB", "/v1/tags", ["x" * 70_000]),
        (413, "5 texts", "/v1/similarity", list("abcdef")),
        (400, "no such field: labels", "/v1/embeddings", ["a"]),
        (404, "no tags", "/v1/tags", []),
    ],
)
def test_bad_texts_are_refused(
    status: int, reason: str, path: str, texts: list[str], mulan: Gateway, clip: Path
) -> None:
    field = "texts" if path == "/v1/similarity" else "labels"
    body, header = form([("a", clip.read_bytes())], **{field: texts})
    found = ask(mulan, path, body, **header)
    assert (found[0], reason in found[1]["error"]) == (status, True), found


def test_a_query_that_is_not_utf_8_and_json_that_is_not_unicode_are_refused(
    mulan: Gateway, clip: Path
) -> None:
    assert ask(mulan, "/v1/tags?labels=%ff", clip.read_bytes())[0] == 400
    body = b'{"urls": ["http://a"], "labels": ["\\ud800"]}'
    status, found, _ = ask(mulan, "/v1/tags", body, content_type="application/json")
    assert (status, "not Unicode" in found["error"]) == (400, True)


@pytest.mark.parametrize("path", ["/v1/tags?labels=a", "/v1/similarity?texts=a"])
def test_a_model_without_words_says_so(path: str, start: Start, clip: Path) -> None:
    status, found, _ = ask(start(), path, clip.read_bytes())
    assert (status, "error" in found) == (404, True)


def test_the_document_tells_of_texts(mulan: Gateway) -> None:
    paths: dict[str, Any] = ask(mulan, "/openapi.json", method="GET")[1]["paths"]
    for path, name in (("/v1/tags", "labels"), ("/v1/similarity", "texts")):
        post = paths[path]["post"]
        (given,) = (each for each in post["parameters"] if each["name"] == name)
        assert given["schema"]["maxItems"] == 5
        fields = post["requestBody"]["content"]["multipart/form-data"]["schema"]["properties"]
        assert fields[name] == given["schema"]
