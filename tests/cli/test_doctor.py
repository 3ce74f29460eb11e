"""What this machine lacks is said, with how to get it, and is no failure."""

import json
import sys
from collections.abc import Callable
from subprocess import CompletedProcess

import onnxruntime
import pytest

from muqrt.cli import doctor

Command = Callable[..., CompletedProcess[str]]


def test_what_is_missing_is_no_failure(muqrt: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("torch", "tensorrt", "sounddevice"):
        monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.setattr(doctor, "installed", lambda name: None)
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])
    monkeypatch.setitem(sys.modules, "tensorrt_rtx_bindings", None)
    done = muqrt("doctor", "--json")
    assert done.returncode == 0
    checks = json.loads(done.stdout)["checks"]
    cures = {
        "PyTorch": "pip install 'muqrt[torch]'",
        "TensorRT": "pip install 'muqrt[gpu]'",
        "TensorRT for RTX": "pip install 'muqrt[rtx]'",
        "ONNX Runtime on GPUs": "pip install onnxruntime-gpu",
        "fused kernels": "pip install 'muqrt[gpu]'",
        "texts (MuQ-MuLan)": "pip install 'muqrt[text]'",
        "search": "pip install 'muqrt[search]'",
        "Parquet files": "pip install 'muqrt[parquet]'",
        "microphone": "pip install 'muqrt[microphone]'",
        "training": "pip install 'muqrt[train]'",
    }
    for name, cure in cures.items():
        assert not checks[name]["ok"] and cure in checks[name]["detail"]


def test_what_is_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    found = ["TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: found)
    ok, detail = doctor._onnxruntime_on_gpus()
    assert ok and detail.endswith("CUDAExecutionProvider, TensorrtExecutionProvider")
    torch = pytest.importorskip("torch")
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert doctor._pytorch() == (True, f"torch {torch.__version__}, for CUDA 13.0; it sees 2 GPUs")
