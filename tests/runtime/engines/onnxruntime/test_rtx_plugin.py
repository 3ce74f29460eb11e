"""ONNX Runtime's plugin for TensorRT for RTX: what it is given, and what is said where it cannot be
used."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest

import muqrt
from muqrt.errors import MissingDependencyError, SessionError
from muqrt.runtime.bundle.manifest import load_bundle
from muqrt.runtime.engines.device_name import DeviceName
from muqrt.runtime.engines.onnxruntime import rtx_plugin
from muqrt.runtime.engines.onnxruntime.rtx_plugin import add_rtx_provider
from muqrt.runtime.engines.onnxruntime.session import OnnxSession

PLUGIN = "onnxruntime_ep_nv_tensorrt_rtx"
NAME = "NvTensorRTRTXExecutionProvider"
INSTALLED = find_spec(PLUGIN) is not None
# The driver's libraries, without a driver: every function fails.
STUB = """
import re, subprocess, sys
from pathlib import Path
import onnxruntime_ep_nv_tensorrt_rtx as plugin
folder = Path(plugin.get_library_path()).parent
names = set()
for file in folder.glob("*.so*"):
    listed = subprocess.run(["nm", "-D", "--undefined-only", file], capture_output=True, text=True)
    names |= set(re.findall(r" U ((?:cu[A-Z]|nvml)\\w+)$", listed.stdout, re.MULTILINE))
print("".join(f"int {name}() {{ return 100; }}\\n" for name in sorted(names)))
"""


@pytest.fixture(autouse=True)
def registered_anew() -> Iterator[None]:
    rtx_plugin._registered.cache_clear()
    yield
    rtx_plugin._registered.cache_clear()


@pytest.fixture
def plugin(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[Any]:
    """As if the plugin were installed; the devices that it finds."""
    devices: list[Any] = []
    module = SimpleNamespace(get_ep_name=lambda: NAME, get_library_path=lambda: "plugin.so")
    monkeypatch.setitem(sys.modules, PLUGIN, module)
    monkeypatch.setattr(ort, "register_execution_provider_library", lambda name, path: None)
    monkeypatch.setattr(ort, "get_ep_devices", lambda: devices)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return devices


class Options:
    """SessionOptions that note the provider."""

    def add_provider_for_devices(self, devices: list[Any], options: dict[str, str]) -> None:
        self.given = devices, options


@pytest.mark.skipif(INSTALLED, reason="the plugin is installed")
def test_without_the_plugin_it_says_what_to_install(tiny_bundle: Path) -> None:
    with pytest.raises(MissingDependencyError, match="pip install onnxruntime-ep-nv-tensorrt-rtx"):
        muqrt.load(tiny_bundle, device="tensorrt-rtx")


def test_a_plugin_that_cannot_be_loaded_is_refused_with_the_cure(
    plugin: list[Any], monkeypatch: pytest.MonkeyPatch, tiny_bundle: Path
) -> None:
    def fail(name: str, path: str) -> None:
        raise RuntimeError("Failed to load library x with error: libcuda.so.1: cannot open\nmore")

    monkeypatch.setattr(ort, "register_execution_provider_library", fail)
    with pytest.raises(
        SessionError, match=r"RTX: libcuda\.so\.1: cannot open\. It needs a"
    ) as told:
        muqrt.load(tiny_bundle, device="tensorrt-rtx")
    assert told.value.exit_code == 3 and "\n" not in str(told.value)


@pytest.mark.parametrize("device", ["tensorrt-rtx", "tensorrt-rtx:1"])
def test_without_such_a_gpu_it_is_refused(
    plugin: list[Any], tiny_bundle: Path, device: str
) -> None:
    cpu = SimpleNamespace(ep_name="CPUExecutionProvider")
    plugin[:] = [cpu, SimpleNamespace(ep_name=NAME)] if ":" in device else [cpu]
    with pytest.raises(SessionError, match=r"finds [01] GPUs\. It needs a GeForce or RTX GPU"):
        muqrt.load(tiny_bundle, device=device)


@pytest.mark.parametrize("cuda_graphs", [False, True])
def test_the_gpu_and_the_options_are_handed_on(
    plugin: list[Any], tmp_path: Path, cuda_graphs: bool
) -> None:
    plugin[:] = [SimpleNamespace(ep_name=name, number=i) for i, name in enumerate([NAME, NAME])]
    options = Options()
    name = add_rtx_provider(options, DeviceName("tensorrt-rtx", 1), "abc", cuda_graphs)  # type: ignore[arg-type]
    (device,), chosen = options.given
    folder = tmp_path / "muqrt" / "tensorrt-rtx-onnxruntime" / "abc"
    assert (name, device.number) == (NAME, 1) and folder.is_dir()
    assert chosen == {
        "nv_runtime_cache_path": str(folder),
        "enable_cuda_graph": str(int(cuda_graphs)),
    }


def test_it_goes_without_a_cache_where_none_can_be_written(
    plugin: list[Any], tmp_path: Path
) -> None:
    plugin[:] = [SimpleNamespace(ep_name=NAME)]
    (tmp_path / "muqrt").write_text("a file where the folder would be")
    options = Options()
    add_rtx_provider(options, DeviceName("tensorrt-rtx", 0), "abc", False)  # type: ignore[arg-type]
    assert options.given[1] == {"enable_cuda_graph": "0"}


def test_a_silent_fall_back_to_the_cpu_is_an_error(
    plugin: list[Any], tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The real SessionOptions with the real CPU's device, under the plugin's name."""
    monkeypatch.undo()
    (cpu, *_) = ort.get_ep_devices()

    def add(options: Any, *about: Any) -> str:
        options.add_provider_for_devices([cpu], {})
        return NAME

    where = "muqrt.runtime.engines.onnxruntime.session.add_rtx_provider"
    monkeypatch.setattr(where, add)
    bundle = load_bundle(tiny_bundle)
    with (
        OnnxSession(bundle, bundle.artefacts[0], device="tensorrt-rtx") as session,
        pytest.raises(SessionError, match=f"could not start {NAME} and has CPUExecutionProvider"),
    ):
        session.run({"waveform": np.zeros((1, 24_000), np.float32)})


@pytest.mark.skipif(not INSTALLED, reason="pip install onnxruntime-ep-nv-tensorrt-rtx-cu13")
@pytest.mark.skipif(shutil.which("nvidia-smi") is not None, reason="there is a driver")
@pytest.mark.parametrize("has_stub", [False, True])
def test_the_real_plugin_without_a_driver(
    tiny_bundle: Path, tmp_path: Path, has_stub: bool
) -> None:
    """In a process of its own: the plugin stays loaded."""
    environment = dict(os.environ)
    if has_stub:
        made = subprocess.run([sys.executable, "-c", STUB], capture_output=True, text=True)
        (tmp_path / "stub.c").write_text(made.stdout)
        for soname in ("libcuda.so.1", "libnvidia-ml.so.1"):
            command = ["gcc", "-w", "-shared", "-fPIC", f"-Wl,-soname,{soname}", "-o"]
            subprocess.run([*command, tmp_path / soname, tmp_path / "stub.c"], check=True)
        environment["LD_LIBRARY_PATH"] = str(tmp_path)
    code = f"import muqrt; muqrt.load({str(tiny_bundle)!r}, device='tensorrt-rtx')"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment
    )
    told = done.stderr.strip().splitlines()[-1]
    assert done.returncode == 1 and told.startswith("muqrt.errors.SessionError")
    assert ("finds 0 GPUs" if has_stub else "libcuda.so.1") in told
