"""``Encoder``: the manners of sentence-transformers and mteb over the numbers of ``Model``."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import soundfile

from muqrt import Encoder, load
from muqrt.errors import BundleError, UsageError

RATE = 24_000
TEXTS = ["calm piano", "a fast and loud song with drums"]


@pytest.fixture(scope="module")
def mulan(mulan_bundle: Path) -> Iterator[Encoder]:
    pytest.importorskip("tokenizers")
    with Encoder(mulan_bundle) as encoder:
        yield encoder


@pytest.fixture(scope="module")
def song(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("song") / "song.flac"
    soundfile.write(path, noise(1.2), RATE)
    return path


def noise(seconds: float, rate_hz: int = RATE) -> np.ndarray:
    samples = np.random.default_rng(7).normal(0, 0.1, round(seconds * rate_hz))
    return samples.astype(np.float32)


def test_audio_of_every_kind(mulan: Encoder, song: Path) -> None:
    torch = pytest.importorskip("torch")
    array, slow = noise(1.5), noise(1.5, 16_000)
    inputs = [
        song,
        str(song),
        {"array": array, "sampling_rate": RATE},
        (slow, 16_000),
        {"array": torch.from_numpy(array), "sampling_rate": RATE},
        (np.stack([array, array]), RATE),
    ]
    found = mulan.encode(inputs, batch_size=4)
    file, here = mulan.model.embed_audio(song), mulan.model.embed_audio(array, RATE)
    resampled = mulan.model.embed_audio(slow, 16_000)
    np.testing.assert_array_equal(found, [file, file, here, resampled, here, here])
    assert found.dtype == np.float32 and found.shape[1] == mulan.get_sentence_embedding_dimension()
    np.testing.assert_array_equal(mulan.encode(array, sampling_rate=RATE), here)
    np.testing.assert_array_equal(mulan.encode((array, RATE)), here)
    np.testing.assert_array_equal(mulan.get_audio_embeddings([str(song)]), [file])


def test_texts_among_audio(mulan: Encoder, song: Path) -> None:
    words, music = mulan.model.embed_text(TEXTS), mulan.model.embed_audio(song)
    found = mulan.encode([TEXTS[0], song, TEXTS[1]])
    # What is beside a text in a batch only rounds it otherwise.
    np.testing.assert_allclose(found, [words[0], music, words[1]], atol=1e-6)
    np.testing.assert_allclose(mulan.encode(TEXTS[0]), words[0], atol=1e-6)
    np.testing.assert_allclose(mulan.get_text_embeddings(TEXTS, batch_size=1), words, atol=1e-6)
    # No such file, and far too long for one: texts.
    assert mulan.encode(["no-such-file.flac", "x" * 9000 + ".wav"]).shape[0] == 2
    assert mulan.encode([]).shape == (0, mulan.get_sentence_embedding_dimension())


def test_what_comes_back(mulan: Encoder) -> None:
    torch = pytest.importorskip("torch")
    plain, one = mulan.encode([(noise(1), RATE)]), mulan.encode((noise(1), RATE))
    unit = mulan.encode([(noise(1), RATE)], normalize_embeddings=True)
    np.testing.assert_allclose(unit, plain / np.linalg.norm(plain), rtol=1e-6)
    tensor = mulan.encode([(noise(1), RATE)], convert_to_tensor=True)
    assert isinstance(tensor, torch.Tensor) and tensor.shape == plain.shape
    listed = mulan.encode([(noise(1), RATE)], convert_to_numpy=False)
    assert isinstance(listed, list) and torch.equal(listed[0], torch.from_numpy(one))


def test_similarity(mulan_bundle: Path, mulan: Encoder, song: Path) -> None:
    torch = pytest.importorskip("torch")
    music, words = mulan.encode([song, (noise(2), RATE)]), mulan.encode(TEXTS)
    expected = mulan.model.similarity([song], TEXTS)
    np.testing.assert_allclose(mulan.similarity(music, words)[:1], expected, atol=1e-6)
    dot = Encoder(mulan.model, similarity_fn_name="dot")
    np.testing.assert_allclose(dot.similarity(music, words), music @ words.T, atol=1e-6)
    pairs = np.diag(music @ words.T)
    np.testing.assert_allclose(dot.similarity_pairwise(music, words), pairs, atol=1e-6)
    assert mulan.similarity(music[0], words[0]).shape == (1, 1)
    trained = [torch.from_numpy(each).bfloat16().requires_grad_() for each in (music, words)]
    similar = mulan.similarity(*trained)
    assert isinstance(similar, torch.Tensor) and similar.dtype == torch.float32
    np.testing.assert_allclose(similar, mulan.similarity(music, words), atol=0.02)


def test_a_muq_takes_audio_alone(tiny_bundle: Path, song: Path) -> None:
    with Encoder(tiny_bundle, threads=1) as encoder, load(tiny_bundle, threads=1) as model:
        np.testing.assert_array_equal(encoder.encode([str(song)]), [model.embed(song)])
        assert not encoder.knows_texts
        with pytest.raises(BundleError, match="knows no texts"):
            encoder.get_text_embeddings(["calm"])


def test_what_is_refused(mulan: Encoder) -> None:
    cases: list[tuple[Any, dict[str, Any], str]] = [
        (noise(1), {}, "an array without its rate"),
        ([{"audio": 3}], {}, "an input of type dict"),
        ([3], {}, "an input of type int"),
        (TEXTS, {"prompt": "query: "}, r"encode\(\) has no prompt='query: '"),
        (TEXTS, {"precision": "int8"}, r"encode\(\) has no precision='int8'"),
        (TEXTS, {"batch_size": 0}, "it must be at least 1"),
        ((np.zeros((9, 24_000), np.float32), RATE), {}, "For a batch pass a list"),
    ]
    for inputs, options, reason in cases:
        with pytest.raises(UsageError, match=reason):
            mulan.encode(inputs, **options)
    mulan.encode(TEXTS, prompt_name=None, precision="float32", device="cpu", show_progress_bar=True)
    with pytest.raises(UsageError, match="choose among cosine, dot"):
        Encoder(mulan.model, similarity_fn_name="euclidean")
    with pytest.raises(UsageError, match="open already: give threads to"):
        Encoder(mulan.model, threads=1)


@dataclass
class Loader:
    """What mteb hands to ``encode``: batches by columns, and the data set's columns."""

    rows: list[dict[str, Any]]
    batch: int = 2

    @property
    def dataset(self) -> SimpleNamespace:
        return SimpleNamespace(features=dict.fromkeys(self.rows[0]))

    def __iter__(self) -> Iterator[dict[str, list[Any]]]:
        for start in range(0, len(self.rows), self.batch):
            rows = self.rows[start : start + self.batch]
            yield {name: [row[name] for row in rows] for name in rows[0]}


def test_what_mteb_asks_for(mulan: Encoder) -> None:
    """Batches of audio of several lengths and rates, of texts, and of both."""
    lengths = ((1.0, RATE), (2.5, 16_000), (0.7, RATE))
    audio = [{"array": noise(*each), "sampling_rate": each[1]} for each in lengths]
    texts = [*TEXTS, "jazz"]
    task = {"task_metadata": object(), "hf_split": "test", "hf_subset": "default"}
    asked = {**task, "prompt_type": None, "batch_size": 2, "show_progress_bar": True}
    music = mulan.encode(Loader([{"audio": each, "id": 1} for each in audio]), **asked)
    words = mulan.encode(Loader([{"text": each} for each in texts]), **asked)
    alone = [mulan.model.embed_audio(each["array"], each["sampling_rate"]) for each in audio]
    np.testing.assert_array_equal(music, alone)
    np.testing.assert_allclose(words, mulan.model.embed_text(texts), atol=1e-6)
    both = [{"audio": a, "text": t} for a, t in zip(audio, texts, strict=True)]
    np.testing.assert_allclose(mulan.encode(Loader(both), **asked), music + words, rtol=1e-6)
    with pytest.raises(UsageError, match="columns image: 'audio' or 'text' is needed"):
        mulan.encode(Loader([{"image": 1}]), **asked)
