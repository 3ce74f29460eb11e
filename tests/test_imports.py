"""Production needs no torch, importing costs nothing, and the rooms' arrows point downwards."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import muqrt

PACKAGE = Path(muqrt.__file__).parent
EXTRAS = ("torch", "onnx", "safetensors", "huggingface_hub", "tritonclient", "av", "matplotlib")
EXTRAS += ("scipy", "fluidsynth", "lightning_fabric", "sklearn", "mir_eval", "pyarrow", "openvino")
EXTRAS += ("sounddevice", "lancedb", "tokenizers", "cuda", "tensorrt")
HEAVY = ("torch", "onnx", "onnxruntime", "numpy", "soundfile", "pydantic", "typer", "rich")
# What only PyTorch's session imports, when it is used: the model itself needs torch.
OF_TORCH = {"torch_encoder", "torch_engines", "torch_linear", "torch_model"}
ROOMS = ("benchmarks", "export", "kernels", "reference", "runtime", "triton_repo")
# What a room may import besides itself.
ALLOWED = {
    "kernels": {"errors", "files", "console"},
    "reference": {"errors", "files", "console"},
    "runtime": {"errors", "files", "console", "kernels"},
    "export": {"errors", "files", "console", "environment", "kernels", "reference", "runtime"},
    "triton_repo": {"errors", "files", "console", "runtime"},
}

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


def sources(room: str) -> list[Path]:
    # The drop-in backend belongs to the server's Python, and tests are outsiders.
    found = [path for path in (PACKAGE / room).rglob("*.py") if "backends" not in path.parts]
    return [path for path in found if not path.name.startswith(("test_", "conftest"))]


def imported(path: Path) -> Iterator[str]:
    """What a module imports of ours: the first name below the package."""
    inside = path.relative_to(PACKAGE).parent.parts
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.level:
            below = [*inside[: len(inside) - node.level + 1], *(node.module or "").split(".")]
            # "from . import x" in the root names x itself.
            yield next(filter(None, below), node.names[0].name)


def test_importing_the_package_loads_nothing_heavy() -> None:
    loaded = python("import sys, muqrt; print(*sys.modules)").split()
    assert "muqrt.errors" in loaded
    assert not {name.partition(".")[0] for name in loaded} & set(HEAVY)


def test_production_imports_without_the_extras() -> None:
    names = ["muqrt.cli.app"]
    for room in ("runtime", "triton_repo"):
        names += [f"muqrt.{room}.{p.stem}" for p in sources(room) if p.stem not in OF_TORCH]
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


def test_the_public_names() -> None:
    for name in muqrt.__all__:
        assert getattr(muqrt, name).__name__ == name
    assert muqrt.load.__module__ == "muqrt.runtime.load"


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="'muqrt' has no attribute 'Loader'"):
        _ = muqrt.Loader


@pytest.mark.parametrize("room", ALLOWED)
def test_arrows_point_downwards(room: str) -> None:
    forbidden = {
        f"{path.relative_to(PACKAGE)} -> {name}"
        for path in sources(room)
        for name in imported(path)
        if name not in ALLOWED[room] | {room}
    }
    assert not forbidden


@pytest.mark.parametrize("room", ROOMS)
def test_modules_import_each_other_relatively(room: str) -> None:
    absolute = re.compile(r"^\s*(from|import) muqrt\b", re.MULTILINE)
    assert not [path for path in sources(room) if absolute.search(path.read_text("utf-8"))]


def test_nobody_but_the_command_imports_the_benchmarks() -> None:
    outside = [path for path in PACKAGE.glob("*.py") if path.name != "cli.py"]
    assert all("benchmarks" not in imported(path) for path in outside)
    assert "benchmarks" in set(imported(PACKAGE / "cli.py"))


def test_every_room_is_known_and_its_imports_are_read() -> None:
    found = {path.parent.name for path in PACKAGE.glob("*/__init__.py")} - {"tests"}
    assert found == set(ROOMS)
    arrows = {name for path in sources("export") for name in imported(path)}
    assert {"reference", "kernels", "runtime", "errors"} <= arrows
