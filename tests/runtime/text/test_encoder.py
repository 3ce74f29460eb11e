"""Texts to embeddings: the same in any company, and nothing that is wrong gets an answer."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from muqrt.errors import BundleError, SessionError, UsageError  # noqa: E402
from muqrt.export.sources.checkpoint import JointCheckpoint, load_source  # noqa: E402
from muqrt.runtime.bundle.manifest import load_bundle  # noqa: E402
from muqrt.runtime.engines.open_session import open_session  # noqa: E402
from muqrt.runtime.load import load  # noqa: E402
from muqrt.runtime.model import Model  # noqa: E402
from muqrt.runtime.text.encoder import TextEncoder, open_text_encoder  # noqa: E402

TEXTS = ["jazz piano", "", "🎷🌧️", "安静的钢琴独奏", "x " * 2_000, "A slow ballad for two"]


@pytest.fixture(scope="module")
def encoder(mulan_bundle: Path) -> TextEncoder:
    return open_text_encoder(mulan_bundle, threads=1)


def test_as_the_reference(encoder: TextEncoder, mulan_checkpoint: Path) -> None:
    source = load_source(mulan_checkpoint)
    assert isinstance(source, JointCheckpoint)
    np.testing.assert_allclose(encoder.encode(TEXTS), source.text_latents(TEXTS), atol=1e-6)


def test_a_text_is_the_same_in_any_company(encoder: TextEncoder) -> None:
    done: list[int] = []
    many = TEXTS * 300  # several runs, of all lengths
    together = encoder.encode(many, done.append)
    assert together.shape == (len(many), 512) and together.dtype == np.float32
    assert sum(done) == len(many) and len(done) > 10
    alone = np.concatenate([encoder.encode([text]) for text in TEXTS])
    np.testing.assert_allclose(together, np.tile(alone, (300, 1)), atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1, rtol=1e-5)


@pytest.mark.parametrize("texts", [[], [b"jazz"], ["jazz", None], ["\ud800"]])
def test_what_is_no_text(encoder: TextEncoder, texts: list[str]) -> None:
    with pytest.raises(UsageError):
        encoder.encode(texts)


@pytest.mark.parametrize(
    ("ids", "mask", "message"),
    [
        ([[0, 400, 2]], [[1, 1, 1]], "ids has token 400; this model knows 0 to 399"),
        ([[0, -1, 2]], [[1, 1, 1]], "ids has token -1"),
        ([[0, 2], [1, 1]], [[1, 1], [0, 0]], "text 1 is nothing but padding"),
        ([[0] * 513], [[1] * 513], "513 tokens; this model takes 512"),
    ],
)
def test_tokens_that_no_tokenizer_makes(
    mulan_bundle: Path, ids: list[list[int]], mask: list[list[int]], message: str
) -> None:
    bundle = load_bundle(mulan_bundle)
    with open_session(bundle, bundle.artefact(tower="text"), threads=1) as session:
        with pytest.raises(SessionError, match=message):
            session.run({"ids": np.array(ids), "mask": np.array(mask)})
        session.run({"ids": np.array([[0, 399, 2]]), "mask": np.array([[1, 1, 0]])})


def test_similarity_is_the_cosine(mulan_bundle: Path, music: Path) -> None:
    songs = [music / "bach_prelude_c.mp3", music / "greensleeves_duo.flac"]
    with load(mulan_bundle, threads=1) as model:
        cosines = model.similarity(songs, TEXTS)
        one = model.similarity(songs[1], TEXTS[:2])
        audio, words = model.embed_audio(songs).astype(np.float64), model.embed_text(TEXTS)
    expected = (audio / np.linalg.norm(audio, axis=1, keepdims=True)) @ words.T
    np.testing.assert_allclose(cosines, expected, atol=1e-6)
    np.testing.assert_allclose(one, cosines[1, :2], atol=1e-6)


def test_words_that_were_not_learned_are_a_warning(
    worded_bundle: Path, mulan_bundle: Path, music: Path, recwarn: pytest.WarningsRecorder
) -> None:
    with load(worded_bundle, threads=1) as model:
        model.embed_text(["jazz", "钢琴"])
        assert not recwarn.list
        model.embed_text("a zydeco piano")
        model.similarity(music / "bach_prelude_c.mp3", ["polka"])
    with load(mulan_bundle, threads=1) as model:
        model.embed_text(["zydeco"])
    assert [str(each.message).partition(" is not among")[0] for each in recwarn] == [
        '"zydeco"',
        '"polka"',
    ]
    assert {each.filename for each in recwarn} == {__file__}


def test_a_model_without_texts(tiny_bundle: Path, mulan_bundle: Path, music: Path) -> None:
    song = music / "bach_prelude_c.mp3"
    with load(tiny_bundle, threads=1) as model:
        with pytest.raises(BundleError, match="shares no space with texts"):
            model.embed_audio(song)
        with pytest.raises(BundleError, match="knows no texts"):
            model.embed_text(["jazz"])
    bundle = load_bundle(mulan_bundle)
    model = Model(open_session(bundle, bundle.artefact(), threads=1))
    with model, pytest.raises(BundleError, match="opened without a text tower"):
        model.embed_text(["jazz"])


def _other_tokenizer(folder: Path) -> None:
    (folder / "tokenizer.json").write_text("{}", encoding="utf-8")


def _other_vocabulary(folder: Path) -> None:
    path = folder / "tokenizer.json"
    document = json.loads(path.read_text(encoding="utf-8"))
    document["model"]["vocab"][10][1] -= 1.0
    path.write_text(json.dumps(document), encoding="utf-8")


def _no_tokenizer(folder: Path) -> None:
    (folder / "tokenizer.json").unlink()


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (_other_tokenizer, "tokenizer.json has changed"),
        (_other_vocabulary, "tokenizer.json has changed"),
        (_no_tokenizer, "tokenizer.json is missing"),
    ],
)
def test_another_tokenizer(mulan_copy: Path, spoil: Callable[[Path], None], message: str) -> None:
    spoil(mulan_copy)
    with pytest.raises(BundleError, match=message):
        open_text_encoder(mulan_copy)
    load(mulan_copy).close()  # whoever only listens needs none


def test_a_manifest_that_names_another_tokenizer(mulan_copy: Path) -> None:
    path = mulan_copy / "bundle.json"
    document = json.loads(path.read_text(encoding="utf-8"))
    document["joint"]["tokenizer_sha256"] = "0" * 64
    path.write_text(json.dumps(document), encoding="utf-8")
    with pytest.raises(BundleError, match="not bound to the tokenizer"):
        load_bundle(mulan_copy)
