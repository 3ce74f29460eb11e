"""Labels: their embeddings against a loop, and what is no label."""

from pathlib import Path

import numpy as np
import pytest

from muqrt.errors import UsageError
from muqrt.runtime.text.labels import MOST_LABELS, TEMPLATES, LabelSet, read_labels

WIDTH = 5


def embed_one(text: str) -> np.ndarray:
    vector = np.random.default_rng(list(text.encode())).standard_normal(WIDTH)
    return (vector / np.linalg.norm(vector)).astype(np.float32)


def test_a_labels_embedding_is_the_mean_over_its_templates() -> None:
    labels = LabelSet(("jazz piano", "欢快的小提琴", "{} and \\1"), ("{}", "{}, {}!", "a {} song"))
    texts = {
        "jazz piano": ["jazz piano", "jazz piano, jazz piano!", "a jazz piano song"],
        "欢快的小提琴": ["欢快的小提琴", "欢快的小提琴, 欢快的小提琴!", "a 欢快的小提琴 song"],
        "{} and \\1": ["{} and \\1", "{} and \\1, {} and \\1!", "a {} and \\1 song"],
    }
    found = labels.latents(lambda given: np.stack([embed_one(text) for text in given]))
    assert found.dtype == np.float32
    for row, label in zip(found, labels.labels, strict=True):
        mean = np.mean([embed_one(text) for text in texts[label]], axis=0)
        np.testing.assert_allclose(row, mean / np.linalg.norm(mean), atol=1e-6)


@pytest.mark.parametrize("label", ["小提琴", "👩‍🎤", "word " * 2_000, "100 %", "é", "a\u00a0b"])
def test_any_language_and_length(label: str) -> None:
    assert LabelSet((label, "other")).texts[:3] == [
        label,
        f"a piece of {label} music",
        f"一首{label}的音乐",
    ]
    assert len(TEMPLATES) == 3


def test_as_many_as_there_may_be() -> None:
    most = tuple(map(str, range(MOST_LABELS)))
    assert len(LabelSet(most).texts) == 3 * MOST_LABELS
    with pytest.raises(UsageError, match="10001 labels; there may be 1 to 10000"):
        LabelSet((*most, "one more"))


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ((), "0 labels"),
        (("",), "label 0 is empty"),
        (("a", " \u3000"), "label 1 is empty"),
        (("a", "b", "a"), "label 'a' is given twice"),
        (("a\nb",), "cannot be printed"),
        (("a\x1b[31m",), "cannot be printed"),
        (("a\u2028b",), "cannot be printed"),
        (("a", 7), "label 1 is not text but of type int"),
    ],
)
def test_what_is_no_label(labels: tuple[str, ...], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        LabelSet(labels)


@pytest.mark.parametrize(
    ("templates", "message"),
    [
        ((), "at least one template"),
        (("a song",), "needs {} where the label goes"),
        (("{}", "{0}"), "template '{0}'"),
        (("{}", "{}"), "given twice"),
    ],
)
def test_what_is_no_template(templates: tuple[str, ...], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        LabelSet(("piano",), templates)


def test_a_string_is_one_label_and_one_template() -> None:
    assert LabelSet("jazz piano", "{} music").texts == ["jazz piano music"]


def test_a_file_without_end() -> None:
    with pytest.raises(UsageError, match=r"/dev/zero: not a list of labels: longer than 16.8 MB"):
        read_labels(Path("/dev/zero"))


def test_a_file_of_labels(tmp_path: Path) -> None:
    path = tmp_path / "labels.txt"
    path.write_bytes("\ufeff jazz piano \r\n\r\n小提琴\n#chill".encode())
    assert read_labels(path) == ["jazz piano", "小提琴", "#chill"]
    path.write_bytes(b"caf\xe9")
    with pytest.raises(UsageError, match="not a text file in UTF-8"):
        read_labels(path)
    with pytest.raises(UsageError, match="No such file"):
        read_labels(tmp_path / "gone.txt")
    with pytest.raises(UsageError, match="directory"):
        read_labels(tmp_path)
