"""The public names: exported lazily, seen by type checkers, and all that a reader needs."""

import ast
import re
import subprocess
import sys
from importlib import import_module
from importlib.metadata import version
from pathlib import Path

import pytest

import muqrt

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))


@pytest.mark.parametrize("name", muqrt.__all__)
def test_a_public_name_is_there(name: str) -> None:
    module, attribute = muqrt._LAZY.get(name, (None, name))
    found = getattr(muqrt, name)
    if module is not None:
        assert (found.__module__, found.__name__) == (f"muqrt{module}", attribute)
    assert name in dir(muqrt)
    assert name == "__version__" or found.__doc__


# What pages told readers to import, before there were public names.
FORMER = {
    "muqrt.runtime.audio.load": "read_audio",
    "muqrt.runtime.labels.LabelSet": "LabelSet",
    "muqrt.runtime.load.open_bundle": "open_bundle",
    "muqrt.runtime.model.Model": "Model",
    "muqrt.runtime.search_index.open_index": "open_index",
    "muqrt.runtime.streaming.Streaming": "Streaming",
    "muqrt.runtime.events.TagEvents": "TagEvents",
    "muqrt.runtime.zero_shot.LabelTagger": "LabelTagger",
    "muqrt.triton_repo.client.TritonSession": "TritonSession",
    "muqrt.triton_repo.streaming_client.StreamingClient": "StreamingClient",
    "muqrt.triton_repo.async_streaming_client.AsyncStreamingClient": "AsyncStreamingClient",
    "muqrt.triton_repo.zero_shot_client.embed_text": "embed_text",
    "muqrt.triton_repo.zero_shot_client.tag_labels": "tag_labels",
}


@pytest.mark.parametrize("former", FORMER)
def test_what_pages_imported_before_is_there(former: str) -> None:
    module, _, name = former.rpartition(".")
    assert getattr(import_module(module), name) is getattr(muqrt, FORMER[former])


def test_the_version_is_the_package_s() -> None:
    assert muqrt.__version__ == version("muqrt")


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="'muqrt' has no attribute 'Loader'"):
        _ = muqrt.Loader


def test_type_checkers_see_what_is_loaded_lazily() -> None:
    tree = ast.parse((ROOT / "__init__.py").read_text(encoding="utf-8"))
    (block,) = (each for each in tree.body if isinstance(each, ast.If))
    seen = {
        each.asname or each.name: (f".{statement.module}", each.name)
        for statement in block.body
        if isinstance(statement, ast.ImportFrom)
        for each in statement.names
    }
    assert seen == muqrt._LAZY


def test_listing_the_names_loads_nothing() -> None:
    code = "import sys, muqrt; dir(muqrt); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"muqrt.kernels", "muqrt.runtime", "muqrt.triton_repo", "numpy"} & set(
        done.stdout.split()
    )


@pytest.mark.parametrize("path", [*PAGES, *EXAMPLES], ids=lambda path: path.name)
def test_pages_and_examples_import_nothing_deeper(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    # Apart from the drop-in, whose names are those of another package.
    assert not re.findall(r"(?:from|import) muqrt\.(?!drop_in\b)[\w.]+", text)
    assert set(re.findall(r"^from muqrt import (.+)$", text, re.MULTILINE)) <= set(muqrt.__all__)
    assert set(re.findall(r"\bmuqrt\.([a-zA-Z_]\w*)\(", text)) <= set(muqrt.__all__)
