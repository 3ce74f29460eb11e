"""WebGPU is used only where it gives the stored answer: with 66 columns, not with 65."""

import json
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest

import muqrt
from muqrt.common.files import sha256
from muqrt.kernels.log_mel import contract

from .conftest import Launch
from .engine_page import EnginePage
from .visits import static_host

SOFTWARE = ("--enable-unsafe-webgpu", "--use-webgpu-adapter=swiftshader")
SAME_SAMPLES = 1e-4


@pytest.mark.full
def test_it_gives_the_tags_of_python(chromium: Launch, address: str) -> None:
    engine = EnginePage(chromium(*SOFTWARE).new_page(), address, backend="webgpu")
    assert engine.info["backend"] == "webgpu", engine.info["backendNote"]
    assert engine.info["largestDifference"] <= SAME_SAMPLES
    waveform = np.random.default_rng(0).standard_normal(48_000).astype(np.float32) / 10
    with muqrt.load(threads=1) as model:
        expected = dict(model.tag(waveform, 24_000).ranking())
    found = engine.tag(waveform, 24_000)["scores"]
    assert max(abs(found[tag] - expected[tag]) for tag in expected) <= SAME_SAMPLES


@pytest.mark.full
def test_without_it_webassembly_runs(chromium: Launch, address: str) -> None:
    engine = EnginePage(chromium().new_page(), address, backend="webgpu")
    assert engine.info["backend"] == "wasm"
    assert "WebGPU is not used" in engine.info["backendNote"]


@pytest.mark.full
def test_a_graph_with_65_columns_is_not_run_by_it(
    chromium: Launch, site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = tmp_path / "site"
    shutil.copytree(site, copy)
    with_65_columns(copy / "model", monkeypatch)
    with static_host(copy) as address:
        engine = EnginePage(chromium(*SOFTWARE).new_page(), address, backend="webgpu")
    assert engine.info["backend"] == "wasm"
    assert "webgpu in this browser gives other tags" in engine.info["backendNote"]
    assert engine.info["largestDifference"] <= SAME_SAMPLES


def with_65_columns(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put the transform of older bundles into a site's front end, and into its manifest."""
    monkeypatch.setattr(contract, "COLUMNS", 65)
    tensors = {
        "first__1": contract.first_stage().astype(np.float32),
        "projection__1": contract.mel_projection().astype(np.float32),
        "bins_shape__1": np.array([0, contract.PHASES * 65, -1]),
    }
    document = json.loads((model / "site.json").read_text())
    path = model / document["front_end"]["path"]
    graph = onnx.load(path, load_external_data=False)
    replaced = [each for each in graph.graph.initializer if each.name in tensors]
    assert len(replaced) == len(tensors)
    for each in replaced:
        each.CopyFrom(onnx.numpy_helper.from_array(tensors[each.name], each.name))
    path.write_bytes(graph.SerializeToString())
    document["front_end"] |= {"bytes": path.stat().st_size, "sha256": sha256(path)}
    (model / "site.json").write_text(json.dumps(document))
