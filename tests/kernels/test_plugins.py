"""The plugins in the hands of TensorRT's real bindings and registry, without a GPU."""

import ctypes
import json
import os
import re
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from muqrt.errors import KernelError, MissingDependencyError
from muqrt.kernels import plugins
from muqrt.kernels.build import MEAN_DB, STD_DB

HERE = Path(__file__).parent
BINDINGS = Path(sys.prefix) / "tensorrt"  # where the Makefile puts them
PRECISIONS = {"FLOAT": "fp32", "HALF": "fp16", "BF16": "bf16"}


@pytest.fixture(scope="session")
def stubs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the libraries that stand in for TensorRT's and the driver's."""
    lean = BINDINGS / "tensorrt_lean_libs"
    if not lean.is_dir():
        pytest.skip(f"TensorRT's bindings are not in {BINDINGS}: make setup puts them there")
    if shutil.which("gcc") is None:
        pytest.skip("gcc, which builds the stubs of TensorRT's libraries, is not installed")
    folder = tmp_path_factory.mktemp("stubs")
    registry = [f"-L{lean}", "-Wl,--no-as-needed", "-l:libnvinfer_lean.so.11", f"-Wl,-rpath,{lean}"]
    for name, part, linked in (
        ("libnvinfer.so.11", "INFER", registry),
        ("libnvinfer_plugin.so.11", "PARSER", []),
        ("libnvonnxparser.so.11", "PARSER", []),
        ("libcuda.so.1", "CUDA", []),
    ):
        made = [f"-D{part}", f"-Wl,-soname,{name}", "-o", str(folder / name)]
        source = str(HERE / "tensorrt_stub.c")
        subprocess.run(["gcc", "-shared", "-fPIC", source, *made, *linked], check=True)
    return folder


@pytest.fixture(scope="session")
def without_gpu(stubs: Path, compiling: dict[str, str]) -> dict[str, str]:
    """The environment in which ``import tensorrt`` works and an H100 is pretended."""
    if find_spec("triton") is None:
        pytest.skip("Triton, which compiles the kernels, is not installed")
    paths = {"LD_LIBRARY_PATH": str(stubs), "PYTHONPATH": str(BINDINGS)}
    return compiling | paths | {"CAPABILITY": "90"}


def answers(folder: Path, environment: dict[str, str]) -> Any:
    """What the plugins answered: see plugin_lifecycle.py."""
    written = folder / "answers.json"
    command = [sys.executable, str(HERE / "plugin_lifecycle.py"), str(written)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(written.read_text())


@pytest.fixture(scope="session")
def lives(without_gpu: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Any:
    return answers(tmp_path_factory.mktemp("lives"), without_gpu)


def launched(kernel: dict[str, Any], **shape: int) -> tuple[dict[str, int], list[int]]:
    """A launch's sizes and scalars for one shape."""
    sizes = {name: eval(text, {}, shape) for name, text in kernel["launch"].items()}
    return sizes, [eval(text, {}, shape) for text in kernel["scalars"]]


def of_types(life: dict[str, Any], tensor: int, dtype: str) -> dict[str, Any]:
    """The kernel for inputs of which one has the given dtype."""
    (kernel,) = [each for each in life["kernels"] if each["types"][tensor] == dtype]
    return kernel


def parameters(ptx: str) -> list[str]:
    """Types of the entry's parameters."""
    (entry,) = re.findall(r"\.visible \.entry \w+\((.*?)\)", ptx, re.DOTALL)
    return re.findall(r"\.param \.(\w+)", entry)


def assert_covered(
    kernel: dict[str, Any], sizes: dict[str, int], length: int, of_a_program: int
) -> None:
    """Three rows of ``length`` get enough programs and no idle one, of the kernel's own size."""
    assert 0 <= sizes["grid_x"] * of_a_program - length < of_a_program
    assert (sizes["grid_y"], sizes["grid_z"]) == (3, 1)
    assert (sizes["block_y"], sizes["block_z"]) == (1, 1)
    assert f".reqntid {sizes['block_x']}\n" in kernel["ptx"]
    assert 0 <= sizes["shared_mem"] <= 48 * 1024
    assert kernel["scalar_types"] == ["INT32"]
    assert kernel["formats"] == ["LINEAR"]
    assert f".entry {kernel['entry']}(" in kernel["ptx"]


def assemble(ptx: str, folder: Path) -> None:
    """By the assembler that Triton brings for this architecture."""
    (target,) = re.findall(r"^\.target (sm_\d+a?)$", ptx, re.MULTILINE)
    blackwell = int(re.sub(r"\D", "", target)) >= 100
    (package,) = find_spec("triton").submodule_search_locations
    tool = Path(package) / "backends/nvidia/bin" / ("ptxas-blackwell" if blackwell else "ptxas")
    source = folder / "kernel.ptx"
    source.write_text(ptx)
    command = [tool, f"--gpu-name={target}", source, "-o", folder / "kernel.cubin"]
    subprocess.run(command, check=True)


def test_the_onnx_attributes_are_those_that_the_plugins_read(lives: Any) -> None:
    assert lives["LogMel"]["fields"] == ["mean_db", "std_db"]
    assert lives["MelRvq"]["fields"] == ["frames_per_step"]


@pytest.mark.parametrize("samples", [1025, 24_000, 24_239, 24_240, 720_001])
def test_log_mel_has_a_frame_for_every_hop(lives: Any, samples: int) -> None:
    life = lives["LogMel"]
    assert life["output_type"] == "FLOAT"
    shape = [eval(text, {}, {"batch": 3, "samples": samples}) for text in life["output_shape"]]
    assert shape == [3, 128, samples // 240]


@pytest.mark.parametrize("frames", [4, 99, 100, 103, 3000])
def test_tokens_are_of_whole_steps(lives: Any, frames: int) -> None:
    life = lives["MelRvq"]
    assert life["output_type"] == "INT32"
    shape = [eval(text, {}, {"batch": 3, "frames": frames}) for text in life["output_shape"]]
    assert shape == [3, 8, frames // 4]


@pytest.mark.parametrize("dtype", PRECISIONS)
@pytest.mark.parametrize("samples", [1025, 24_000, 720_001])
def test_log_mel_is_launched_over_all_frames(lives: Any, dtype: str, samples: int) -> None:
    kernel = of_types(lives["LogMel"], -1, dtype)
    assert kernel["types"][:2] == ["FLOAT", "FLOAT"]
    sizes, scalars = launched(kernel, batch=3, samples=samples)
    frames = samples // 240
    assert scalars == [samples, samples, frames]
    assert_covered(kernel, sizes, frames, lives["frames_of_a_program"])
    assert parameters(kernel["ptx"]) == ["u64", "u64", "u32", "u32", "u32", "u64"]


@pytest.mark.parametrize("dtype", PRECISIONS)
@pytest.mark.parametrize("frames", [4, 103, 3000])
def test_mel_rvq_is_launched_over_all_steps(lives: Any, dtype: str, frames: int) -> None:
    kernel = of_types(lives["MelRvq"], 0, dtype)
    assert kernel["types"][1:] == ["FLOAT"] * 4 + ["INT32"]
    sizes, scalars = launched(kernel, batch=3, frames=frames)
    assert scalars == [frames, frames // 4]
    assert_covered(kernel, sizes, frames // 4, lives["steps_of_a_program"])
    assert parameters(kernel["ptx"]) == ["u64"] * 5 + ["u32"] * 2 + ["u64"]


@pytest.mark.parametrize("name", ["LogMel", "MelRvq"])
def test_each_precision_has_its_own_kernel_that_assembles(
    lives: Any, name: str, tmp_path: Path
) -> None:
    kernels = [each["ptx"] for each in lives[name]["kernels"]]
    assert len(set(kernels)) == len(PRECISIONS)
    for ptx in kernels:
        assert re.search(r"^\.target sm_90a$", ptx, re.MULTILINE)
        assemble(ptx, tmp_path)


@pytest.mark.full  # for 90, every other test here has them
@pytest.mark.slow
@pytest.mark.parametrize("capability", [80, 120])
def test_the_kernels_are_those_of_the_gpu_at_hand(
    without_gpu: dict[str, str], capability: int, tmp_path: Path
) -> None:
    found = answers(tmp_path, without_gpu | {"CAPABILITY": str(capability)})
    for name in ("LogMel", "MelRvq"):
        assert len(found[name]["kernels"]) == len(PRECISIONS)
        for each in found[name]["kernels"]:
            assert re.search(rf"^\.target sm_{capability}a?$", each["ptx"], re.MULTILINE)
            assemble(each["ptx"], tmp_path)


def test_the_kernel_gets_the_nodes_mean_and_deviation(lives: Any) -> None:
    assert lives["asked"] == [[dtype, MEAN_DB, STD_DB] for dtype in PRECISIONS.values()]


def test_a_kernel_that_tensorrt_could_not_launch_is_refused(lives: Any) -> None:
    assert re.match(r"mel_rvq_fp32_i32 for sm_90 needs \d+ bytes of shared", lives["too_large"])


@pytest.mark.parametrize("capability", [89, 121])
def test_the_gpu_is_asked_for_its_capability(stubs: Path, capability: int) -> None:
    code = "from muqrt.kernels.plugins import device_capability; print(device_capability())"
    environment = {"LD_LIBRARY_PATH": str(stubs), "CAPABILITY": str(capability)}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, env=os.environ | environment, capture_output=True, text=True)
    assert done.stdout.strip() == str(capability), done.stderr


def test_without_a_gpu_there_is_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise OSError(f"{name}: cannot open shared object file")

    monkeypatch.setattr(ctypes, "CDLL", missing)
    with pytest.raises(KernelError, match=r"No NVIDIA driver.*libcuda\.so\.1"):
        plugins.device_capability()
    driver = SimpleNamespace(cuInit=lambda flags: 100)
    monkeypatch.setattr(ctypes, "CDLL", lambda name: driver)
    with pytest.raises(KernelError, match="finds no GPU"):
        plugins.device_capability()


def test_without_tensorrt_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'muqrt\[gpu\]'"):
        plugins.register_plugins()
