"""Memory is measured in a fresh process, once."""

from dataclasses import replace
from pathlib import Path

import pytest

from muqrt.errors import BundleError
from muqrt.runtime.memory import measure as module
from muqrt.runtime.memory.measure import measure
from muqrt.runtime.memory.work import Request, Task, Work


def test_it_is_measured_once(
    tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / "memory.json"
    request = Request(Work("embeddings", 2.0), str(tiny_bundle), "onnx-fp32", 1)
    found = measure(request, cache)
    # The libraries alone are more than 20 MB, and so is the engine.
    assert 10e6 < found.start_bytes < found.loaded_bytes - 20e6
    assert found.loaded_bytes < found.peak_bytes < 1e9
    monkeypatch.setattr(module, "fresh_process", None)
    assert measure(request, cache) == found
    with pytest.raises(TypeError):  # other work is measured anew
        measure(replace(request, batch_size=2), cache)


def test_what_the_work_raises_reaches_the_caller(tiny_bundle: Path, tmp_path: Path) -> None:
    request = Request(Work("tags"), str(tiny_bundle), "onnx-fp32", 1)
    with pytest.raises(BundleError, match="tags"):
        measure(request, tmp_path / "memory.json")


@pytest.mark.full
@pytest.mark.parametrize(
    ("task", "bundle", "artefact"),
    [
        ("features", "levels_bundle", "onnx-fp32"),
        ("tags", "tagged_bundle", "onnx-fp32"),
        ("stream", "tagged_bundle", "onnx-fp32"),
        ("tokens", "token_bundle", "onnx-fp32"),
        ("latents", "mulan_bundle", "onnx-fp32"),
        ("texts", "mulan_bundle", "text-fp32"),
    ],
)
def test_every_kind_of_work_can_be_measured(
    task: Task, bundle: str, artefact: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    level = (3, 6) if task == "features" else None
    work = Work(task, level=level)
    folder: Path = request.getfixturevalue(bundle)
    found = measure(Request(work, str(folder), artefact, 1, 2), tmp_path / "memory.json")
    assert found.start_bytes < found.loaded_bytes <= found.peak_bytes
