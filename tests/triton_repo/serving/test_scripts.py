"""A model.py imports one module, whose names stay as they are."""

import ast

import pytest

from muqrt.triton_repo import serving
from muqrt.triton_repo.repository.layout import LIVE_STREAMS, TEXTS, WHOLE_MODEL, ZERO_SHOT


@pytest.mark.parametrize(
    ("script", "name"),
    [
        (WHOLE_MODEL, "EngineModel"),
        (LIVE_STREAMS, "StreamModel"),
        (TEXTS, "TextModel"),
        (ZERO_SHOT, "ZeroShotModel"),
    ],
)
def test_a_script_imports_one_module(script: str, name: str) -> None:
    (imported,) = (
        node
        for node in ast.walk(ast.parse(script))
        if isinstance(node, (ast.Import, ast.ImportFrom))
    )
    assert isinstance(imported, ast.ImportFrom)
    assert (imported.module, imported.level) == ("muqrt.triton_repo.serving", 0)
    assert [(each.name, each.asname) for each in imported.names] == [(name, "TritonPythonModel")]
    assert name in serving.__all__


def test_another_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="serving' has no attribute 'OldModel'"):
        _ = serving.OldModel
