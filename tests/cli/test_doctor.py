"""What this machine lacks is said, with how to get it, and is no failure."""

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import onnxruntime
import pytest

from muqrt.cli import doctor
from muqrt.runtime.bundle.manifest import load_bundle
from muqrt.runtime.bundle.shipped import SHIPPED_BUNDLE

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
        "Hugging Face hub": "pip install 'muqrt[hub]'",
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


def test_a_bundle_that_proves_itself_is_offered_its_proof(
    muqrt: Command, bundle_copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    named = json.loads(muqrt("doctor", str(bundle_copy), "--json").stdout)["bundles"]
    (found,) = named.values()
    assert found["ok"] and "1 of 1 artefacts certified" in found["detail"]
    command = f"muqrt parity {bundle_copy}"
    assert found["detail"].endswith(command)
    assert muqrt(*command.split()[1:]).returncode == 0
    monkeypatch.chdir(bundle_copy.parent)
    around = json.loads(muqrt("doctor", "--json").stdout)["bundles"]
    assert [*around] == [bundle_copy.name, str(SHIPPED_BUNDLE)]
    assert around[bundle_copy.name]["detail"].endswith(f"muqrt parity {bundle_copy.name}")


@pytest.mark.parametrize("command", ["doctor", "parity"])
def test_the_shipped_bundle_has_no_answers_and_says_what_to_do(
    muqrt: Command, command: str
) -> None:
    done = muqrt(command, str(SHIPPED_BUNDLE), "--json")
    assert done.returncode == {"doctor": 0, "parity": 2}[command]
    said = (
        json.loads(done.stdout)["bundles"][str(SHIPPED_BUNDLE)]["detail"]
        if command == "doctor"
        else done.stderr
    )
    assert "holds no answers of the reference, to keep the package small" in said
    assert "muqrt export reference/checkpoints/muq-mini -o mini/" in said


def test_bundles_that_cannot_prove_themselves_are_told_apart(
    muqrt: Command, bundle_copy: Path, tmp_path: Path
) -> None:
    damaged, without = tmp_path / "damaged", tmp_path / "without"
    for copy in (damaged, without):
        shutil.copytree(bundle_copy, copy)
    with (damaged / "parity-answers.npz").open("ab") as file:
        file.write(b"\0")
    bundle = load_bundle(without)
    bundle.answers = None
    bundle.save(without)
    folders = [str(damaged), str(without), str(tmp_path / "nothing")]
    done = muqrt("doctor", *folders, "--json")
    found = json.loads(done.stdout)["bundles"]
    assert done.returncode == 0 and not any(each["ok"] for each in found.values())
    wanted = ("has changed since it was exported", "--checkpoint CHECKPOINT", "no bundle.json")
    for folder, words in zip(folders, wanted, strict=True):
        assert words in found[folder]["detail"]
    done = muqrt("doctor", *folders)
    assert "proves itself" in done.stdout
