"""The linter of the project's English finds what it should, and nothing in code."""

from pathlib import Path

import pytest

from .prose import findings


@pytest.mark.parametrize(
    ("source", "line", "message"),
    [
        ('"""Whoever reads this."""\n', 1, "name who does it"),
        ('"""Good.\n\nIt is very fast.\n"""\n', 3, "very"),
        ('x = option(\n    help="Of everything."\n)\n', 2, "preposition"),
        ('raise ValueError(f"{name}: nobody reads {name}.")\n', 1, "what does not happen"),
        ('class A:\n    """As everywhere."""\n', 2, "stands alone"),
    ],
)
def test_it_finds(source: str, line: int, message: str, tmp_path: Path) -> None:
    path = tmp_path / "module.py"
    path.write_text(source, encoding="utf-8")
    found = [each for each in findings(path) if each.startswith(f"{path}:{line}: ")]
    assert any(message in each for each in found)


def test_code_is_not_prose(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# Title\n\nRun `nobody`.\n\n```\nwhoever\n```\n", encoding="utf-8")
    module = tmp_path / "module.py"
    module.write_text('"""Return ``nobody``."""\nwhoever = 1\n', encoding="utf-8")
    assert not [*findings(page), *findings(module)]


def test_a_page_is_read(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# Title\n\n`code` and\nnobody else.\n", encoding="utf-8")
    assert [*findings(page)] == [f"{page}:4: 'nobody': say what does not happen."]
