"""Texts to tokens: specials, padding, cutting, and files that are no such tokenizer.

That the tokens are the official ones is shown in tests/reference/mulan.
"""

import sys
from pathlib import Path

import numpy as np
import pytest

tokenizers = pytest.importorskip("tokenizers")

from muqrt.errors import CheckpointError, MissingDependencyError, UsageError  # noqa: E402
from muqrt.runtime.text.tokenizer import TextTokenizer  # noqa: E402

SPECIAL = ("<s>", "<pad>", "</s>", "<unk>")
SENTENCES = ["a slow song with a piano", "hopeful mood, piano", "一首适合海边的小提琴曲", "钢琴曲"]


def train(
    special: tuple[str, ...] = SPECIAL, template: str = "<s> $A </s>"
) -> "tokenizers.Tokenizer":
    tokenizer = tokenizers.Tokenizer(tokenizers.models.Unigram())
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Metaspace()
    trainer = tokenizers.trainers.UnigramTrainer(
        vocab_size=80, special_tokens=list(special), unk_token="<unk>", show_progress=False
    )
    tokenizer.train_from_iterator(SENTENCES, trainer)
    ids = [(token, tokenizer.token_to_id(token)) for token in ("<s>", "</s>")]
    tokenizer.post_processor = tokenizers.processors.TemplateProcessing(
        single=template, special_tokens=ids
    )
    return tokenizer


@pytest.fixture(scope="module")
def plain() -> "tokenizers.Tokenizer":
    """What encodes one text at a time, without padding or cutting."""
    return train()


@pytest.fixture(scope="module")
def path(plain: "tokenizers.Tokenizer", tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A good tokenizer.json, though it says something of its own about padding and cutting."""
    tokenizer = tokenizers.Tokenizer.from_str(plain.to_str())
    tokenizer.enable_truncation(4, direction="left")
    tokenizer.enable_padding(pad_id=3, pad_token="<unk>", length=40, direction="left")
    path = tmp_path_factory.mktemp("tokenizer") / "tokenizer.json"
    tokenizer.save(str(path))
    return path


def test_a_batch_of_different_lengths(path: Path, plain: "tokenizers.Tokenizer") -> None:
    tokenizer = TextTokenizer(path)
    texts = [SENTENCES[0], "", SENTENCES[2], "🎻"]
    ids, mask = tokenizer.encode(texts)
    expected = [plain.encode(text).ids for text in texts]
    assert ids.dtype == mask.dtype == np.int64
    assert ids.shape == mask.shape == (4, max(map(len, expected)))
    for row, own in enumerate(expected):
        assert ids[row].tolist() == own + [1] * (ids.shape[1] - len(own))
        assert mask[row].tolist() == [1] * len(own) + [0] * (ids.shape[1] - len(own))
    assert expected[1] == [0, 2]
    assert 3 in expected[3]  # a character it has never seen
    assert tokenizer.vocabulary == plain.get_vocab_size()


@pytest.mark.parametrize("max_tokens", [2, 3, 5])
def test_long_texts_are_cut_at_their_end(
    path: Path, plain: "tokenizers.Tokenizer", max_tokens: int
) -> None:
    whole = plain.encode(SENTENCES[0]).ids
    ids, mask = TextTokenizer(path, max_tokens).encode([SENTENCES[0]])
    assert ids.tolist() == [[*whole[: max_tokens - 1], 2]]
    assert mask.all()


def test_512_tokens_is_the_most(path: Path) -> None:
    assert TextTokenizer(path).encode(["piano " * 600])[0].shape == (1, 512)


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ([], "at least one text"),
        (["piano", None], "text 1 is not text but of type NoneType"),
        (["piano", b"piano"], "text 1 is not text but of type bytes"),
        (["\ud83c"], "text 0 is not valid Unicode"),
    ],
)
def test_what_is_no_list_of_texts(path: Path, texts: list[str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        TextTokenizer(path).encode(texts)


def test_a_string_is_one_text(path: Path) -> None:
    for one, several in zip(
        TextTokenizer(path).encode("jazz piano"),
        TextTokenizer(path).encode(["jazz piano"]),
        strict=True,
    ):
        np.testing.assert_array_equal(one, several)


@pytest.mark.parametrize("content", [b"", b"{}", b"[1]", b'{"version": "1.0"}', b"\xff\x00"])
def test_a_file_that_is_no_tokenizer(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"tokenizer\.json: not a readable"):
        TextTokenizer(path)


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"gone\.json: not a readable"):
        TextTokenizer(tmp_path / "gone.json")


def test_a_tokenizer_of_another_kind(tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    train(special=("<pad>", "<s>", "</s>", "<unk>")).save(str(path))
    with pytest.raises(CheckpointError, match="not a tokenizer of XLM-RoBERTa"):
        TextTokenizer(path)
    train(template="$A </s>").save(str(path))
    with pytest.raises(CheckpointError, match="between <s> and </s>"):
        TextTokenizer(path)


def test_too_few_tokens_to_be_a_text(path: Path) -> None:
    with pytest.raises(UsageError, match="max_tokens is 1"):
        TextTokenizer(path, 1)


def test_without_the_library(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'muqrt\[text\]'"):
        TextTokenizer(path)
