"""``muqrt.load`` on a real, tiny bundle."""

import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from muqrt.common.files import sha256
from muqrt.errors import BundleError, UsageError
from muqrt.runtime.bundle.record import TensorSpec
from muqrt.runtime.load import load, open_bundle
from muqrt.runtime.model import Model

from ..framing import muq_framing, one_artefact

FRAMING = muq_framing(96_000)


def onnx_bundle(folder: Path) -> Path:
    """A bundle whose only artefact, uncertified, averages the samples of each step."""
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    node, helper = onnx.helper.make_node, onnx.helper
    nodes = [
        node("Unsqueeze", ["waveform", "one"], ["x"]),
        node("AveragePool", ["x"], ["frames"], kernel_shape=[240], strides=[240]),
        node("AveragePool", ["frames"], ["steps"], kernel_shape=[4], strides=[4], ceil_mode=1),
        node("Transpose", ["steps"], ["features"], perm=[0, 2, 1]),
    ]
    specs: dict[str, list[int | str]] = {
        "waveform": ["batch", "samples"],
        "features": ["batch", "steps", 1],
    }
    values = [
        helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape)
        for name, shape in specs.items()
    ]
    one = helper.make_tensor("one", onnx.TensorProto.INT64, [1], [1])
    graph = helper.make_graph(nodes, "steps", values[:1], values[1:], [one])
    opsets = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), folder / "steps.onnx")
    tensors = [TensorSpec(name=name, dtype="float32", shape=each) for name, each in specs.items()]
    files = {"steps.onnx": sha256(folder / "steps.onnx")}
    facts = {"name": "steps", "engine": "onnxruntime", "file": "steps.onnx", "files": files}
    bundle = one_artefact(folder, FRAMING, inputs=tensors[:1], outputs=tensors[1:], **facts)
    bundle.save(folder)
    return folder


def test_loading_a_bundle(tmp_path: Path) -> None:
    folder = onnx_bundle(tmp_path)
    with pytest.raises(BundleError, match="certificate"):
        load(folder)
    track = np.random.default_rng(0).uniform(-1, 1, 210 * 960).astype(np.float32)
    options = {"overlap_seconds": 1.0, "batch_size": 2}
    with load(folder, "steps", threads=1, allow_uncertified=True, **options) as model:
        features = model.features(track, 24_000)
    np.testing.assert_allclose(features[:, 0], track.reshape(210, 960).mean(axis=1), atol=1e-6)


def test_a_pickled_model_is_opened_again_by_its_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = onnx_bundle(tmp_path)
    monkeypatch.chdir(tmp_path)
    track = np.random.default_rng(0).uniform(-1, 1, 210 * 960).astype(np.float32)
    with load(".", "steps", threads=1, allow_uncertified=True, overlap_seconds=1.0) as model:
        features, pickled = model.features(track, 24_000), pickle.dumps(model)
    monkeypatch.chdir("/")
    with pickle.loads(pickled) as again:
        np.testing.assert_array_equal(again.features(track, 24_000), features)
    with open_bundle(folder, "steps", allow_uncertified=True) as session:
        with pytest.raises(TypeError, match=r"open one in each process, .* muqrt\.load"):
            pickle.dumps(Model(session))
        with pytest.raises(TypeError, match=r"open one in each process, .* muqrt\.open_bundle"):
            pickle.dumps(session)


def test_loading_what_is_no_bundle(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="muqrt export"):
        load(tmp_path)


def test_the_library_imports_no_engine_before_it_is_used() -> None:
    late = "onnxruntime openvino torch tensorrt rich typer scipy tokenizers sqlite3 lancedb asyncio"
    script = f"import sys, muqrt.runtime.load; print(set({late.split()}) & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout == "set()\n", done.stderr


def test_a_folder_that_is_none_is_asked_for() -> None:
    with pytest.raises(UsageError, match="a bundle's folder is needed, not 3"):
        load(3)  # type: ignore[arg-type]
