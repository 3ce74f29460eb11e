"""Finding the server: NVIDIA's first, the wheel's next, and the command to run when neither."""

import stat
from importlib.machinery import ModuleSpec
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest

from muqrt.errors import MissingDependencyError
from muqrt.triton_repo.server import installation
from muqrt.triton_repo.server.installation import find_server


@pytest.fixture
def wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty wheel in place of the real one, no server on PATH, and a cache of its own."""
    package = tmp_path / "site-packages" / "pytriton"
    python = package / "tritonserver" / "backends" / "python"
    stub = package / "tritonserver" / "python_backend_stubs" / installation._PYTHON
    for folder in (python, stub, package / "tritonserver" / "bin"):
        folder.mkdir(parents=True)
    for file in (
        package / "tritonserver" / "bin" / "tritonserver",
        python / "libtriton_python.so",
        python / "triton_python_backend_utils.py",
        stub / "triton_python_backend_stub",
    ):
        file.write_text(file.name)
        file.chmod(0o755)
    spec = ModuleSpec("pytriton", None, is_package=True)
    spec.submodule_search_locations = [str(package)]
    monkeypatch.setattr(installation, "find_spec", lambda name: spec)
    monkeypatch.setattr("shutil.which", lambda name: None)
    monkeypatch.setattr("ctypes.util.find_library", lambda name: name)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return package


def test_a_server_on_path_uses_its_own_backends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda name: "/opt/tritonserver/bin/it")
    found = find_server()
    assert found.binary == Path("/opt/tritonserver/bin/it")
    assert found.arguments("prefix") == []
    assert not found.environment


@pytest.mark.parametrize(("text", "version"), [("2.59.0\n", (2, 59, 0)), ("", None), (None, None)])
def test_the_version_is_read_from_the_file_that_images_have(
    text: str | None, version: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.which", lambda name: str(tmp_path / "bin" / "tritonserver"))
    if text is not None:
        (tmp_path / "TRITON_VERSION").write_text(text)
    assert find_server().version == version


@pytest.mark.parametrize(
    ("release", "version"), [("0.7.0", (2, 51, 0)), ("9.0", None), (None, None)]
)
def test_the_wheel_s_release_says_the_version_of_its_server(
    release: str | None, version: object, wheel: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def noted(name: str) -> str:
        if release is None:
            raise PackageNotFoundError(name)
        return release

    monkeypatch.setattr(installation, "version", noted)
    assert find_server().version == version


def test_the_wheels_server_gets_a_backend_folder(wheel: Path, tmp_path: Path) -> None:
    found = find_server()
    assert found.binary == wheel / "tritonserver" / "bin" / "tritonserver"
    assert found.backends is not None
    assert found.backends.is_relative_to(tmp_path / "cache")
    stub = found.backends / "python" / "triton_python_backend_stub"
    assert stub.stat().st_mode & stat.S_IXUSR
    assert "TritonPythonModel" in (found.backends / "onnxruntime" / "model.py").read_text()
    libraries = found.environment["LD_LIBRARY_PATH"].split(":")
    assert libraries[0] == str(wheel.parent / "nvidia_pytriton.libs")


def test_the_backend_folder_is_reused_until_something_in_it_changes(wheel: Path) -> None:
    first = find_server().backends
    assert find_server().backends == first
    (wheel / "tritonserver" / "backends" / "python" / "libtriton_python.so").write_text("newer")
    assert find_server().backends != first


def test_without_any_server_the_error_has_the_command(
    wheel: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(installation, "find_spec", lambda name: None)
    with pytest.raises(MissingDependencyError, match=r"pip install --no-deps nvidia-pytriton=="):
        find_server()


def test_without_libpython_the_error_has_the_command(
    wheel: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sysconfig.get_config_var", lambda name: "/nowhere")
    monkeypatch.setattr("ctypes.util.find_library", lambda name: None)
    with pytest.raises(MissingDependencyError, match=r"apt-get install libpython3\.\d+"):
        find_server()


def test_a_python_the_wheel_does_not_know_is_named(wheel: Path) -> None:
    version = installation._PYTHON
    stubs = wheel / "tritonserver" / "python_backend_stubs"
    (stubs / version).rename(stubs / "2.7")
    with pytest.raises(MissingDependencyError, match=f"Python {version}"):
        find_server()


def test_a_cache_that_cannot_be_written_is_named(
    wheel: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(MissingDependencyError, match="XDG_CACHE_HOME"):
        find_server()
