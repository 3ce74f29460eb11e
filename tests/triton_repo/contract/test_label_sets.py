"""Label sets in files: read when they changed, and refused with the reason."""

import os
from pathlib import Path

import pytest

from muqrt.errors import UsageError
from muqrt.runtime.text.labels import TEMPLATES, LabelSet
from muqrt.triton_repo.contract.label_sets import LabelSets


def test_both_kinds_are_read(tmp_path: Path) -> None:
    (tmp_path / "moods.txt").write_text("happy\n\n 悲伤 \n", encoding="utf-8")
    (tmp_path / "genres.json").write_text('{"labels": ["jazz"], "templates": ["some {}"]}')
    (tmp_path / "plain.v2.json").write_text('{"labels": ["a", "b"]}')
    sets = LabelSets(tmp_path)
    assert sets.named("moods") == LabelSet(("happy", "悲伤"))
    assert sets.named("genres") == LabelSet(("jazz",), ("some {}",))
    assert sets.named("plain.v2") == LabelSet(("a", "b"), TEMPLATES)


def test_a_file_is_read_again_only_when_it_changed(tmp_path: Path) -> None:
    path = tmp_path / "moods.txt"
    path.write_text("happy")
    sets = LabelSets(tmp_path)
    first = sets.named("moods")
    assert sets.named("moods") is first
    path.write_text("sad!!")  # as long
    os.utime(path, ns=(1, 1))
    assert sets.named("moods").labels == ("sad!!",)
    other = tmp_path / "new"
    other.write_text("wild!")
    os.utime(other, ns=(1, 1))
    other.rename(path)  # as editors do
    assert sets.named("moods").labels == ("wild!",)
    path.unlink()
    with pytest.raises(UsageError, match="no label set 'moods'"):
        sets.named("moods")


@pytest.mark.parametrize("name", ["", ".", "..", "../up", "a/b", "/etc/passwd", "x" * 200, "a\0"])
def test_a_name_is_not_a_path(tmp_path: Path, name: str) -> None:
    (tmp_path / "up.txt").write_text("secret")
    folder = tmp_path / "sets"
    folder.mkdir()
    (folder / "moods.txt").write_text("happy")
    with pytest.raises(UsageError, match="there are: moods"):
        LabelSets(folder).named(name)


@pytest.mark.parametrize(
    ("name", "content", "why"),
    [
        ("a.txt", b"", "0 labels"),
        ("a.txt", b"\xff\xfe", "UTF-8"),
        ("a.txt", b"jazz\njazz\n", "given twice"),
        ("a.json", b"[", "Invalid JSON"),
        ("a.json", b"{}", "labels: Field required"),
        ("a.json", b'{"labels": [1]}', "labels.0: Input should be a valid string"),
        ("a.json", b'{"labels": ["x"], "templates": ["none"]}', "needs {}"),
        ("a.json", b'{"labels": ["x"], "template": []}', "template: Extra inputs"),
    ],
)
def test_what_is_wrong_with_a_file_is_said(
    tmp_path: Path, name: str, content: bytes, why: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UsageError, match=f"label set 'a': .*{why}"):
        LabelSets(tmp_path).named("a")


def test_without_a_folder_there_are_none(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there are: none"):
        LabelSets(tmp_path / "missing").named("a")
