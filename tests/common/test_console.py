"""What commands print: text or JSON, without rich where neither a table nor a terminal is."""

import json
import sys

import pytest

from muqrt.common.console import Table, printable, progress, show


def test_lines_are_printed_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    line = f"[bold] :smile: {'x' * 300}"
    assert show(False, {}, line, "", "below")
    assert capsys.readouterr().out == f"{line}\nbelow\n"


def test_json_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert show(True, {"a": [1, "ü"]}, "not shown")
    out = capsys.readouterr().out
    assert out.count("\n") == 1 and json.loads(out) == {"a": [1, "ü"]}


def test_a_table_is_drawn_between_lines(capsys: pytest.CaptureFixture[str]) -> None:
    show(False, {}, "above", Table("Title", ["name", "figure"], [["a", 1], ["b", 22]]), "below")
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "above" and "Title" in lines[1] and lines[-1] == "below"


def test_a_pipe_shows_no_progress(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with progress("Working", 2) as bar:
        bar.advance("a song")
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with progress("Working", 2) as bar:
        bar.advance("a song")


def test_nothing_steers_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    assert printable("caf\xe9 \U0001f3bb \u5f13") == "caf\xe9 \U0001f3bb \u5f13"
    assert printable("a\x1b[2J\n\r\x9b\u202e") == r"a\x1b[2J\n\r\x9b\u202e"
    show(False, {}, "\x1b]0;title\x07", Table("", ["name"], [["\x1b[31mred"]]))
    out = capsys.readouterr().out
    assert "\x1b" not in out and r"\x1b]0;title\x07" in out and r"\x1b[31mred" in out
