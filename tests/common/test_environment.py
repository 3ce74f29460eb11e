"""Packages that only some commands need are imported, or it is said why not."""

import sys
from pathlib import Path

import pytest

from muqrt.common.environment import import_extra
from muqrt.errors import MissingDependencyError


def test_the_first_module_is_returned() -> None:
    assert import_extra("train", "json.decoder", "json") is sys.modules["json.decoder"]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("import not_there", "No module named 'not_there'"),
        ("raise ImportError('libcuda.so.1: cannot open')", "libcuda.so.1: cannot open"),
    ],
)
def test_why_it_cannot_be_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, why: str
) -> None:
    (tmp_path / "broken_extra.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(MissingDependencyError) as error:
        import_extra("gpu", "json", "broken_extra")
    assert str(error.value) == (
        f"broken_extra is needed for this and cannot be imported ({why}). "
        "Run: pip install 'muqrt[gpu]'"
    )
