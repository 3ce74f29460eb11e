"""Production needs no torch, importing costs nothing, and arrows between packages run one way."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

import muqrt

from .import_graph import children_graph, circle, module_graph, packages, sources

PACKAGE = Path(muqrt.__file__).parent
GRAPH = module_graph(PACKAGE)
EXTRAS = ("torch", "onnx", "safetensors", "huggingface_hub", "tritonclient", "av", "matplotlib")
EXTRAS += ("scipy", "fluidsynth", "lightning_fabric", "sklearn", "mir_eval", "pyarrow", "openvino")
EXTRAS += ("mido", "music21", "pyloudnorm", "pyworld", "ray")
EXTRAS += ("uvicorn", "httptools", "uvloop", "grpc", "starlette", "python_multipart", "websockets")
EXTRAS += (
    "onnxruntime_ep_nv_tensorrt_rtx",
    "sounddevice",
    "lancedb",
    "tokenizers",
    "cuda",
    "tensorrt",
    "tensorrt_rtx_bindings",
)
HEAVY = ("torch", "onnx", "onnxruntime", "numpy", "soundfile", "pydantic", "typer", "rich")
# What only PyTorch's session imports, when it is used: the model itself needs torch.
OF_TORCH = {f"runtime.engines.pytorch.{name}" for name in ("encoder", "engines", "model")}
# A package imports from those below it, never from one beside or above it.
LAYERS = (
    {"cli", "drop_in"},
    {"benchmarks"},
    {"catalogue", "gateway", "web"},
    {"export", "triton_repo"},
    {"training", "runtime"},
    {"reference", "kernels"},
    {"common"},
    {"errors"},
)

BLOCK = f"""
import sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {EXTRAS}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Blocker())
"""


def python(code: str) -> str:
    """What a fresh interpreter prints."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_importing_the_package_loads_nothing_heavy() -> None:
    loaded = python("import sys, muqrt; print(*sys.modules)").split()
    assert "muqrt.errors" in loaded
    assert not {name.partition(".")[0] for name in loaded} & set(HEAVY)


def test_production_imports_without_the_extras() -> None:
    below = ("cli.app", "common.", "gateway.", "runtime.", "triton_repo.")
    names = [f"muqrt.{name}" for name in GRAPH if name.startswith(below) and name not in OF_TORCH]
    assert {"muqrt.runtime.engines.onnxruntime.session", "muqrt.triton_repo.client.session"} <= set(
        names
    )
    imports = "".join(f"import {name}\n" for name in names)
    loaded = python(f"{BLOCK}{imports}print(*sys.modules)").split()
    assert set(names) <= set(loaded)


def test_the_blocker_blocks() -> None:
    for name in ("torch", "onnx.helper", "safetensors.torch"):
        tried = f"{BLOCK}\ntry:\n    import {name}\nexcept ImportError as e:\n    print(e.name)"
        assert python(tried).strip() in (name, name.partition(".")[0])


def test_a_bundle_runs_without_the_extras(tagged_bundle: Path, music: Path) -> None:
    song = music / "greensleeves_duo.flac"
    use = f"""
import muqrt
with muqrt.load({str(tagged_bundle)!r}) as model:
    print(*model.embed({str(song)!r}).shape, *model.features({str(song)!r}).shape)
    print(*model.tag({str(song)!r}).scores.shape)
"""
    width, steps, features_width, tags = map(int, python(BLOCK + use).split())
    assert (width, features_width, tags) == (32, 32, 6)
    assert steps > 100


@pytest.mark.parametrize(
    ("command", "extra"),
    [
        ("export checkpoint -o out", "export"),
        ("parity . --checkpoint c", "export"),
        ("random-checkpoint -o out", "export"),
        ("train rvq music -o out", "train"),
        ("train probe checkpoint music --task key -o out", "train"),
        ("synth-corpus -o out", "train"),
        ("evaluate bundle music", "train"),
    ],
)
def test_without_the_extra_its_command_says_what_to_install(
    command: str, extra: str, tmp_path: Path
) -> None:
    code = f"{BLOCK}\nsys.argv = 'muqrt {command}'.split()\nfrom muqrt.cli.app import main\nmain()"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path
    )
    assert (done.returncode, done.stdout) == (3, "")
    assert f"pip install 'muqrt[{extra}]'" in done.stderr
    assert done.stderr.count("\n") == 1


def test_every_package_has_its_layer() -> None:
    found = {path.parent.name for path in PACKAGE.glob("*/__init__.py")} - {"tests"}
    assert found == set().union(*LAYERS) - {"errors"}


def test_the_root_holds_three_modules() -> None:
    assert {path.name for path in PACKAGE.glob("*.py")} == {
        "__init__.py",
        "__main__.py",
        "errors.py",
        "setup.py",
    }


def upward(graph: dict[str, set[str]]) -> list[str]:
    """Imports of a package from one that is not below it."""
    depth = {name: index for index, layer in enumerate(LAYERS) for name in layer}
    return [
        f"{module} -> {other}"
        for module, imported in graph.items()
        for other in imported
        if (a := module.split(".")[0]) in depth
        and a != (b := other.split(".")[0])
        and depth.get(b, -1) <= depth[a]
    ]


def circles(graph: dict[str, set[str]]) -> dict[str, list[str]]:
    """By package, a circle among its modules and sub-packages."""
    found = {name: circle(children_graph(graph, name)) for name in packages(graph)}
    return {name: names for name, names in found.items() if names}


def test_arrows_run_one_way() -> None:
    assert len(GRAPH) > 300
    assert not upward(GRAPH)


def test_no_circle_exists_at_any_level() -> None:
    assert not circle(GRAPH)
    assert not circles(GRAPH)


@pytest.mark.parametrize(
    ("importer", "line", "found"),
    [
        ("common/files.py", "from ..runtime.model import Model", "an arrow upwards"),
        ("triton_repo/client/session.py", "from ...export.parity import gate", "an arrow upwards"),
        (
            "runtime/bundle/manifest.py",
            "if TYPE_CHECKING:\n    from ..model import Model",
            "a circle of modules",
        ),
        (
            "runtime/audio/read.py",
            "def later() -> None:\n    from ..model import Model",
            "a circle of modules",
        ),
        ("export/graph/folding.py", "from ..bundle import workspace", "a circle of packages"),
    ],
)
def test_what_the_plan_forbids_is_found(
    importer: str, line: str, found: str, tmp_path: Path
) -> None:
    for path in sources(PACKAGE):
        copy = tmp_path / path.relative_to(PACKAGE)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_text(path.read_text(encoding="utf-8"), encoding="utf-8")
    assert module_graph(tmp_path) == GRAPH
    with (tmp_path / importer).open("a", encoding="utf-8") as file:
        file.write(f"\n{line}\n")
    graph = module_graph(tmp_path)
    checks = {
        "an arrow upwards": upward,
        "a circle of modules": circle,
        "a circle of packages": circles,
    }
    assert checks[found](graph)


def test_modules_import_each_other_relatively() -> None:
    absolute = re.compile(r"^\s*(from|import) muqrt\b", re.MULTILINE)
    modules = [path for path in sources(PACKAGE) if path != PACKAGE / "__init__.py"]
    assert not [path for path in modules if absolute.search(path.read_text("utf-8"))]


def test_no_folder_is_crowded() -> None:
    folders = {path.parent for path in sources(PACKAGE)}
    crowded = {folder: len([*folder.glob("*.py")]) for folder in folders}
    assert max(crowded.values()) <= 16, crowded
