"""ONNX Runtime on a GPU: which providers it is asked for, and what is said where there is none."""

from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest

import muqrt
from muqrt.errors import MissingDependencyError, SessionError
from muqrt.runtime.engines.onnxruntime.providers import providers_on

CUDA, TENSORRT = "CUDAExecutionProvider", "TensorrtExecutionProvider"


@pytest.fixture
def gpu_build(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if onnxruntime-gpu were installed, where its libraries find no GPU."""
    found = [TENSORRT, CUDA, "CPUExecutionProvider"]
    monkeypatch.setattr(ort, "get_available_providers", lambda: found)


@pytest.mark.skipif(CUDA in ort.get_available_providers(), reason="onnxruntime-gpu is installed")
def test_the_cpu_build_says_what_to_install(tiny_bundle: Path) -> None:
    for device in ("cuda", "tensorrt", "cuda:1"):
        with pytest.raises(MissingDependencyError, match=f"{device}.*pip install onnxruntime-gpu"):
            muqrt.load(tiny_bundle, device=device)


@pytest.mark.parametrize("device", ["gpu", "cuda:", "cuda:x", "CUDA", "cuda:-1", ""])
def test_what_is_no_device(device: str) -> None:
    with pytest.raises(SessionError, match="choose cpu or cuda or tensorrt"):
        providers_on(device, "")


def test_the_cpu_is_the_default_and_needs_no_options() -> None:
    assert providers_on("cpu", "") == [("CPUExecutionProvider", {})]


def test_cuda_keeps_float32s_mantissa(gpu_build: None) -> None:
    (name, options), rest = providers_on("cuda:2", "")
    assert name == CUDA and rest == ("CPUExecutionProvider", {})
    assert (options["device_id"], options["use_tf32"]) == (2, 0)
    assert options["enable_cuda_graph"] == 0


def test_only_cuda_records_runs(gpu_build: None) -> None:
    (_, options), _ = providers_on("cuda", "", cuda_graphs=True)
    assert options["enable_cuda_graph"] == 1
    for device in ("cpu", "tensorrt"):
        with pytest.raises(SessionError, match=f"for device cuda, not '{device}'"):
            providers_on(device, "", cuda_graphs=True)


def test_tensorrts_engines_are_kept_for_each_artefact(
    gpu_build: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    (name, options), second, _ = providers_on("tensorrt", "abc")
    assert name == TENSORRT and second[0] == CUDA
    assert options["trt_engine_cache_path"] == str(tmp_path / "muqrt" / "tensorrt" / "abc")


@pytest.mark.filterwarnings("ignore:Specified provider")
def test_a_silent_fall_back_to_the_cpu_is_an_error(gpu_build: None, tiny_bundle: Path) -> None:
    with (
        muqrt.load(tiny_bundle, device="cuda") as model,
        pytest.raises(SessionError, match=rf"could not start {CUDA} and has CPUExecutionProvider"),
    ):
        model.embed(np.random.default_rng(0).uniform(-0.5, 0.5, 24_000), 24_000)
