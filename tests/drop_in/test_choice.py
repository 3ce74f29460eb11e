"""Which artefact answers: the best that gives what the class needs."""

import shutil
from pathlib import Path

import pytest
import torch

from muqrt.drop_in import choice
from muqrt.runtime.bundle.manifest import Artefact, Bundle, load_bundle
from muqrt.runtime.bundle.tensorrt_plan import TensorRTPlan


@pytest.fixture
def bundle(levels_bundle: Path, tmp_path: Path) -> Bundle:
    """Its manifest has three engines, whose files are the graph's."""
    loaded = load_bundle(shutil.copytree(levels_bundle, tmp_path / "bundle"))
    (graph,) = loaded.artefacts
    facts = graph.model_dump(exclude={"certificate", "name", "engine", "files"})
    file = {graph.file: graph.files[graph.file]}
    plan = TensorRTPlan(tensorrt="10.16.0.72", compute_capability="9.0", gpu="tests")
    for engine, of_it in (("tensorrt", {"plan": plan}), ("torch", {})):
        named = {"name": f"{engine}-fp32", "engine": engine, "files": file}
        loaded.artefacts.append(Artefact(**{**facts, **named, **of_it}))
    loaded.save(loaded.folder)
    again = load_bundle(loaded.folder)
    for each in again.artefacts:
        each.certificate = graph.certificate.model_copy(update={"artefact_sha256": each.digest})
    return again


def test_levels_are_preferred_where_they_are_needed(bundle: Bundle) -> None:
    def order(kind: str, levels: bool) -> list[str]:
        return [each.engine for each in choice._able(bundle, kind, "fp32", levels)]

    assert order("cuda", True) == ["torch", "onnxruntime", "tensorrt"]
    assert order("cuda", False) == ["tensorrt", "torch", "onnxruntime"]
    assert order("cpu", True) == order("cpu", False) == ["onnxruntime", "torch"]


def test_a_named_artefact_runs_where_the_model_is(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a machine with a GPU PyTorch would take it."""
    asked = []
    monkeypatch.setattr(choice, "open_session", lambda *about: asked.append(about[3]))
    for device in ("cpu", "cuda", "cuda:1"):
        about = torch.device(device), torch.float32, "torch-fp32", None
        _, artefact = choice.open_best(bundle, *about, levels=True)
        assert artefact.name == "torch-fp32"
    assert asked == ["cpu", "cuda:0", "cuda:1"]
