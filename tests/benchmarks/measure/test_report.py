"""What a report becomes on disk, and places that cannot be written."""

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from muqrt.benchmarks.measure.report import (
    Draw,
    Report,
    Section,
    check_output,
    without_folders,
    write_report,
)
from muqrt.common.environment import import_extra
from muqrt.errors import MissingDependencyError, UsageError


@dataclass(frozen=True, kw_only=True)
class Small(Report):
    value: float = 1.5

    def results(self) -> list[Section]:
        rows = [["a|b", f"{self.value}"]]
        return [Section("First", ("name", "s"), rows, "A note."), Section("Second", ("", ""), [])]

    def remarks(self) -> list[str]:
        return ["A remark."]

    def details(self) -> list[Section]:
        return [Section("More", ("", ""), [["x", "1"]])]

    def charts(self) -> Mapping[str, Draw]:
        return {"": lambda path: path.write_bytes(b"1"), "-b": lambda path: path.write_bytes(b"2")}


def test_a_report_is_a_page_a_document_and_its_charts(tmp_path: Path) -> None:
    report = Small(created="now", command="muqrt bench", environment={"cpu": "a CPU"})
    written = write_report(report, tmp_path / "results" / "v1.2")
    names = ["v1.2.json", "v1.2.md", "v1.2.png", "v1.2-b.png"]
    assert [path.name for path in written] == names
    assert sorted(path.name for path in written[0].parent.iterdir()) == sorted(names)
    environment = {"cpu": "a CPU"}
    facts = {"created": "now", "command": "muqrt bench", "environment": environment, "value": 1.5}
    assert json.loads(written[0].read_text()) == facts
    assert written[1].read_text().split("\n\n") == [
        "# v1.2",
        "`muqrt bench`, now",
        "## First",
        "| name | s |\n| --- | ---: |\n| a\\|b | 1.5 |",
        "A note.",
        "A remark.",
        "![First](v1.2.png)",
        "![First](v1.2-b.png)",
        "## Second",
        "|  |  |\n| --- | ---: |",
        "## More",
        "|  |  |\n| --- | ---: |\n| x | 1 |",
        "## Where",
        "|  |  |\n| --- | ---: |\n| cpu | a CPU |\n",
    ]


def test_a_report_says_when_how_and_where(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["/usr/bin/muqrt", "bench", "/home/me/bundle", "--cpu"])
    report = Small()
    assert report.command == "muqrt bench bundle --cpu"
    assert report.created.endswith("+00:00") and "cpu" in report.environment
    assert without_folders(["/a/b", "a/b", "-o"]) == ["b", "a/b", "-o"]


def test_a_section_with_another_column() -> None:
    section = Section("One", ("a",), [["1"], ["2"]]).with_column("b", ["3", "4"])
    assert (section.columns, section.rows) == (("a", "b"), [["1", "3"], ["2", "4"]])
    with pytest.raises(ValueError):
        section.with_column("c", ["5"])


def test_places_that_cannot_be_written(tmp_path: Path) -> None:
    check_output(None)
    check_output(tmp_path / "new" / "cpu")
    assert list((tmp_path / "new").iterdir()) == []
    with pytest.raises(UsageError, match="a folder"):
        check_output(tmp_path)
    (tmp_path / "file").touch()
    for below in ("cpu", "deeper/cpu"):
        with pytest.raises(UsageError, match="in the way"):
            check_output(tmp_path / "file" / below)


def test_a_missing_package_names_its_extra(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import_extra("bench", "json")
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    check_output(tmp_path / "cpu")
    with pytest.raises(MissingDependencyError, match=r"pip install 'muqrt\[loadtest\]'"):
        check_output(tmp_path / "cpu", charts_from="loadtest")
