"""Every name and signature of TensorRT's and CUDA's that we use is in their real bindings.

These are on PyPI; the libraries beneath them are not, and stand in here as ones that do nothing.
What cannot be seen without a GPU is whether an engine is built and what it computes.
"""

import ast
import inspect
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import muqrt

from .... import fake_tensorrt
from ....fake_cuda import FakeCuda

HERE, PACKAGE = Path(__file__).parent, Path(muqrt.__file__).parent
SOURCES = [
    PACKAGE / name
    for name in (
        "export/engines/tensorrt/build.py",
        "export/engines/tensorrt/parsing.py",
        "export/engines/tensorrt/progress.py",
        "kernels/plugins.py",
        "runtime/engines/cuda/device.py",
        "runtime/engines/tensorrt/engine.py",
        "runtime/engines/tensorrt/execution_slot.py",
        "runtime/engines/tensorrt/library.py",
        "runtime/engines/tensorrt/weights.py",
    )
]
# What our variables of these names are.
CLASSES = {
    "builder": "Builder",
    "cache": "ITimingCache",
    "config": "IBuilderConfig",
    "context": "IExecutionContext",
    "engine": "ICudaEngine",
    "error": "ParserError",
    "inspector": "EngineInspector",
    "network": "INetworkDefinition",
    "parser": "OnnxParser",
    "parser_refitter": "OnnxParserRefitter",
    "profile": "IOptimizationProfile",
    "refitter": "Refitter",
    "runtime": "Runtime",
    "tensor": "ITensor",
}
FAKES = {
    "Builder": fake_tensorrt.Builder,
    "EngineInspector": fake_tensorrt.Inspector,
    "IBuilderConfig": fake_tensorrt.Config,
    "ICudaEngine": fake_tensorrt.Engine,
    "IExecutionContext": fake_tensorrt.Context,
    "INetworkDefinition": fake_tensorrt.Network,
    "IOptimizationProfile": fake_tensorrt.OptimizationProfile,
    "OnnxParser": fake_tensorrt.Parser,
    "OnnxParserRefitter": fake_tensorrt.ParserRefitter,
    "Refitter": fake_tensorrt.Refitter,
}
SYMBOLS = (
    "createInferBuilder_INTERNAL",
    "createInferRefitter_INTERNAL",
    "createInferRuntime_INTERNAL",
    "createNvOnnxParser_INTERNAL",
    "createNvOnnxParserRefitter_INTERNAL",
    "getNvOnnxParserVersion",
    "initLibNvInferPlugins",
    "getPluginRegistry",
    "getBuilderPluginRegistry",
)
# Where the Makefile puts them: the newest, and the oldest that is supported.
BINDINGS = {"11": Path(sys.prefix) / "tensorrt", "10": Path(sys.prefix) / "tensorrt10"}


@pytest.fixture(scope="module", params=BINDINGS)
def real(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """What tensorrt_names.py found in the bindings."""
    major, folder = request.param, tmp_path_factory.mktemp("tensorrt")
    if not BINDINGS[major].is_dir():
        pytest.skip(
            f"no TensorRT {major} bindings in {BINDINGS[major]}: make setup puts them there"
        )
    if shutil.which("gcc") is None:
        pytest.skip("gcc, which builds libraries in the place of TensorRT's, is not installed")
    source, graph, written = folder / "empty.c", folder / "muq.onnx", folder / "names.json"
    source.write_text("".join(f"void *{name}(void) {{ return 0; }}\n" for name in SYMBOLS))
    graph.touch()
    for library in ("libnvinfer", "libnvinfer_plugin", "libnvonnxparser"):
        name = f"{library}.so.{major}"
        made = ["-shared", "-fPIC", f"-Wl,-soname,{name}", "-o", str(folder / name)]
        subprocess.run(["gcc", str(source), *made], check=True)
    paths = {"LD_LIBRARY_PATH": str(folder), "PYTHONPATH": str(BINDINGS[major])}
    command = [sys.executable, str(HERE / "tensorrt_names.py"), str(graph), str(written)]
    done = subprocess.run(command, env=os.environ | paths, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = json.loads(written.read_text())
    assert found["version"].startswith(f"{major}.")
    return found


def nodes(kind: type[ast.AST]) -> Iterator[tuple[str, Any]]:
    """All of our code's nodes of a kind, each with its file and line."""
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, kind):
                yield f"{path.name}:{getattr(node, 'lineno', 0)}", node


def dotted(node: ast.expr) -> str:
    """What ``trt.Builder.create_network`` and ``builder.create_network`` are, as text; empty if
    it is nothing of TensorRT's."""
    if isinstance(node, ast.Attribute):
        owner = dotted(node.value)
        return f"{owner}.{node.attr}" if owner else ""
    if isinstance(node, ast.Call):  # tensorrt().__version__
        return "trt" if isinstance(node.func, ast.Name) and node.func.id == "tensorrt" else ""
    name = node.id if isinstance(node, ast.Name) else ""
    if name in ("trt", "trtp"):
        return name
    return f"trt.{CLASSES[name]}" if name in CLASSES else ""


def used() -> Iterator[tuple[str, str]]:
    """Where, and which name of TensorRT's."""
    for where, node in nodes(ast.Attribute):
        name = dotted(node)
        if name.startswith(("trt.", "trtp.")) and "__" not in name:
            yield where, name


Signature = dict[str, bool]  # whether each parameter may be left out, in order; without self


def signatures(documentation: str) -> list[Signature]:
    """What pybind11 writes first in a function's documentation; several when it is overloaded."""
    found = []
    for line in documentation.splitlines():
        matched = re.match(r"\s*(?:\d+\. )?\w+\((?!\*args)(.*)\) -> ", line)
        if matched is None:
            continue
        parameters: Signature = {}
        # Commas inside brackets are a type's.
        for text in re.split(r",\s*(?![^\[(]*[\])])", matched[1]):
            name = re.match(r"\w+", text)
            if name is not None and name[0] != "self":
                parameters[name[0]] = "=" in text
        found.append(parameters)
    return found


def takes(signature: Signature, call: ast.Call) -> bool:
    """Whether a function may be called so."""
    names = list(signature)
    named = {each.arg for each in call.keywords}
    if any(isinstance(each, ast.Starred) for each in call.args):
        return named <= set(names)
    given = set(names[: len(call.args)]) | named
    required = {name for name, optional in signature.items() if not optional}
    return len(call.args) + len(named) == len(given) and required <= given <= set(names)


def test_signatures_are_read() -> None:
    read = signatures("f(*args, **kwargs)\n1. f(self: A, x: Dict[int, str], y: int = 0) -> B\n")
    assert read == [{"x": False, "y": True}]
    (call,) = (node for node in ast.walk(ast.parse("f(1)")) if isinstance(node, ast.Call))
    assert takes(read[0], call) and not takes({"x": False, "y": False}, call)
    assert not takes({}, call)


def test_every_name_is_there(real: Any) -> None:
    names = list(used())
    assert len(names) > 60
    assert {name.split(".")[1] for _, name in names} >= set(CLASSES.values())
    assert not [(where, name) for where, name in names if name not in real["names"]]


def test_every_call_is_one_that_is_taken(real: Any) -> None:
    checked = set()
    for where, call in nodes(ast.Call):
        name = dotted(call.func)
        if not name.startswith("trt."):
            continue
        documentation = real["names"].get(f"{name}.__init__") or real["names"].get(name, "")
        if known := signatures(documentation):
            assert any(takes(each, call) for each in known), f"{where}: {name} is {known}"
            checked.add(name)
    assert {"trt.Builder", "trt.OnnxParser", "trt.IBuilderConfig.set_timing_cache"} <= checked
    assert {"trt.IExecutionContext.execute_async_v3", "trt.Runtime"} <= checked
    assert len(checked) > 25


def test_what_we_override_is_called_so(real: Any) -> None:
    overridden = set()
    for _, written in nodes(ast.ClassDef):
        for base in filter(None, map(dotted, written.bases)):
            for method in (each for each in written.body if isinstance(each, ast.FunctionDef)):
                name = f"{base}.{method.name}"
                if not method.name.startswith("_") and name in real["names"]:
                    (signature,) = signatures(real["names"][name])
                    assert [each.arg for each in method.args.args[1:]] == list(signature)
                    overridden.add(name)
    monitor = {"phase_start", "phase_finish", "step_complete"}
    assert overridden == {"trt.ILogger.log", *(f"trt.IProgressMonitor.{each}" for each in monitor)}


def test_the_real_classes_can_be_derived_from(real: Any) -> None:
    assert real["errors"] == ["INTERNAL_ERROR", "ERROR"]
    assert real["steps"] == [["phase"], True]
    # As far as the real thing goes here.
    assert real["refusal"].startswith("BuildError: TensorRT cannot use this GPU")


@pytest.mark.parametrize("name", FAKES)
def test_the_fakes_are_called_as_the_real_ones(real: Any, name: str) -> None:
    for called, method in inspect.getmembers(FAKES[name]):
        if called.startswith("_"):
            continue
        assert f"trt.{name}.{called}" in real["names"]
        if not inspect.isfunction(method):
            continue
        ours = list(inspect.signature(method).parameters)[1:]
        known = signatures(real["names"][f"trt.{name}.{called}"])
        assert any(
            list(each)[: len(ours)] == ours and all(list(each.values())[len(ours) :])
            for each in known
        ), f"{called}: {known}"


def test_cuda_is_called_as_its_binding_wants() -> None:
    cuda = pytest.importorskip("cuda.bindings.runtime", reason="pip install cuda-bindings")
    called = set()
    for where, call in nodes(ast.Call):
        if isinstance(call.func, ast.Attribute) and call.func.attr.startswith("cuda"):
            arguments = [None] * len(call.args)
            assert inspect.signature(getattr(cuda, call.func.attr)).bind(*arguments), where
            called.add(call.func.attr)
    assert len(called) > 15
    for _, node in nodes(ast.Attribute):
        if node.attr.startswith("cuda") and dotted(node).count(".") == 0:
            owner = node.value.attr if isinstance(node.value, ast.Attribute) else ""
            assert hasattr(getattr(cuda, owner, cuda), node.attr), node.attr
    for name in called:
        ours = inspect.signature(getattr(FakeCuda, name)).parameters
        theirs = inspect.signature(getattr(cuda, name)).parameters
        assert list(ours)[1:] == list(theirs), name


@pytest.mark.skipif(shutil.which("nvidia-smi") is not None, reason="there is a GPU")
def test_without_a_gpu_the_real_binding_says_so() -> None:
    pytest.importorskip("cuda.bindings.runtime", reason="pip install cuda-bindings")
    from muqrt.errors import SessionError
    from muqrt.runtime.engines.cuda.device import CudaDevice

    with pytest.raises(SessionError, match=r"cudaError\w+\)\. This machine has no GPU that works"):
        CudaDevice()
