"""``pip install .`` and then ``muqrt tag song.mp3``: the wheel, in an otherwise empty environment.

The environment has what the wheel depends on, as links, and nothing else of this one's.
"""

import json
import shutil
import subprocess
import sys
import venv
from importlib.metadata import distribution
from pathlib import Path
from zipfile import ZipFile

import pytest
import soundfile
from packaging.requirements import Requirement

from muqrt.runtime.bundle.manifest import load_bundle
from muqrt.runtime.bundle.shipped import SHIPPED_BUNDLE

ROOT = Path(__file__).parent.parent
MOST_BYTES = 16_000_000  # of the bundle in the wheel
_NOT_COPIED = (".*", "build", "dist", "site", "docs", "tests", "*.egg-info", "__pycache__")
_NOT_COPIED += ("node_modules",)
_BUILD = "import setuptools.build_meta as backend, sys; print(backend.build_wheel(sys.argv[1]))"
_WITHOUT_TORCH = "import sys; sys.modules['torch'] = sys.modules['onnx'] = None; "


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy of the tree, with neither torch nor onnx."""
    source, folder = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    shutil.copytree(ROOT, source, ignore=shutil.ignore_patterns(*_NOT_COPIED), dirs_exist_ok=True)
    subprocess.run(
        [sys.executable, "-c", _WITHOUT_TORCH + _BUILD, folder],
        cwd=source,
        check=True,
        capture_output=True,
    )
    (built,) = folder.iterdir()
    return built


def dependencies(name: str, found: set[str] | None = None) -> set[str]:
    """What a distribution needs without extras, and what that needs."""
    found = set() if found is None else found
    for line in distribution(name).requires or []:
        requirement = Requirement(line)
        wanted = requirement.marker is None or requirement.marker.evaluate({"extra": ""})
        if wanted and requirement.name not in found:
            found.add(requirement.name)
            dependencies(requirement.name, found)
    return found


@pytest.fixture(scope="module")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of an environment with the wheel and its dependencies."""
    folder = tmp_path_factory.mktemp("empty")
    venv.create(folder, symlinks=True)
    (site,) = folder.glob("lib/python*/site-packages")
    with ZipFile(wheel) as archive:
        archive.extractall(site)
    for name in dependencies("muqrt"):
        installed = distribution(name)
        for top in {Path(file).parts[0] for file in installed.files or []}:
            if top not in ("..", "__pycache__") and not (site / top).exists():
                (site / top).symlink_to(Path(str(installed.locate_file(top))).resolve())
    return folder / "bin" / "python"


@pytest.fixture(scope="module")
def song(music: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A few seconds of music."""
    path = tmp_path_factory.mktemp("song") / "song.flac"
    samples, rate_hz = soundfile.read(music / "greensleeves_duo.flac", stop=6 * 48_000)
    soundfile.write(path, samples, rate_hz)
    return path


def answer(python: Path, *arguments: object) -> str:
    command = [python, "-I", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=python.parent)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_bundle_is_in_the_wheel_and_small(wheel: Path) -> None:
    shipped = load_bundle(SHIPPED_BUNDLE)
    with ZipFile(wheel) as archive:
        found = {
            Path(each.filename).name: each
            for each in archive.infolist()
            if each.filename.startswith("muqrt/runtime/bundle/muq-mini/")
        }
        assert set(found) == {"bundle.json", *shipped.artefact().files}
        for name, each in found.items():
            assert archive.read(each) == (SHIPPED_BUNDLE / name).read_bytes()
        assert sum(each.compress_size for each in found.values()) <= MOST_BYTES
        names = archive.namelist()
        assert "muqrt/benchmarks/roofline/gpus.toml" in names
    assert not any(name.startswith(("muqrt/tests", "muqrt/build")) for name in names)
    assert not any(name.endswith((".safetensors", ".pt")) for name in names)


def test_the_first_command_needs_nothing_else(python: Path, song: Path) -> None:
    tagged = answer(python, "-m", "muqrt", "tag", song, "--json")
    document = json.loads(tagged)
    assert document["model"] == "muq-mini"
    (track,) = document["results"]
    assert track["tags"]


def test_everything_it_gives_runs_there(python: Path, song: Path) -> None:
    script = f"""
import importlib.util, muqrt
assert not any(map(importlib.util.find_spec, ("torch", "onnx", "safetensors")))
with muqrt.load() as model:
    song = {str(song)!r}
    print(model.checkpoint, model.embed(song).shape, model.features(song).shape[1])
    print(model.tokens(song).shape[0])
"""
    assert answer(python, "-c", script).split("\n")[:2] == ["muq-mini (192,) 192", "8"]
    streamed = answer(python, "-m", "muqrt", "stream", song, "--fast", "--json").splitlines()
    assert json.loads(streamed[-1])["model"] == "muq-mini"
    assert "muq-mini, which comes with muqrt" in answer(python, "-m", "muqrt", "embed", song)
