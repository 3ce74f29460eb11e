"""Find a Triton server: on PATH, or in the nvidia-pytriton wheel.

The wheel has no ONNX Runtime backend. For it a folder of backends is assembled in the user's cache,
with ``backends/onnxruntime/model.py`` in place of that backend.
"""

import ctypes.util
import hashlib
import os
import re
import shutil
import sys
import sysconfig
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

from ...common.files import atomic_folder, cache_folder, sha256
from ...errors import MissingDependencyError

_DROP_IN = Path(__file__).parents[1] / "backends" / "onnxruntime" / "model.py"
_PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
# Triton's, by the wheel's.
_WHEEL_VERSIONS = {"0.7.0": (2, 51, 0)}
# Without its dependencies: they pin numpy<2 for its Python API, which is not used.
_INSTALL = "pip install --no-deps nvidia-pytriton==0.7.0"


@dataclass(frozen=True)
class Installation:
    """A server that can be started. The folders are None if it has its own backends, the version
    if only the running server says it."""

    binary: Path
    backends: Path | None = None
    caches: Path | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    version: tuple[int, ...] | None = None

    def arguments(self, shared_memory: str) -> list[str]:
        """The arguments that this server needs.

        Args:
            shared_memory: prefix for the names of its buffers in shared memory.
        """
        if self.backends is None:
            return []
        return [
            f"--backend-directory={self.backends}",
            f"--cache-directory={self.caches}",
            f"--backend-config=python,shm-region-prefix-name={shared_memory}",
        ]


def find_server() -> Installation:
    """Find the server to use: ``tritonserver`` on PATH, otherwise the one in the wheel.

    Raises:
        MissingDependencyError: there is neither, or libpython is missing; the message has the
            command to run.
    """
    on_path = shutil.which("tritonserver")
    if on_path is None:
        return _from_the_wheel()
    return Installation(Path(on_path), version=_noted_version(Path(on_path)))


def version_numbers(text: str) -> tuple[int, ...]:
    """A version's numbers: 2, 51 and 0 of ``2.51.0``."""
    return tuple(map(int, re.findall("[0-9]+", text)))


def _noted_version(binary: Path) -> tuple[int, ...] | None:
    """The version in the file that NVIDIA's images have beside the server's ``bin``."""
    try:
        text = (binary.resolve().parents[1] / "TRITON_VERSION").read_text()
    except (OSError, ValueError):
        return None
    return version_numbers(text) or None


def _from_the_wheel() -> Installation:
    # The package cannot be imported, because its pinned dependencies are not installed.
    spec = find_spec("pytriton")
    if spec is None or not spec.submodule_search_locations:
        raise MissingDependencyError(
            "No Triton server: tritonserver is not on PATH and the nvidia-pytriton wheel, which "
            f"contains one, is not installed. Run: {_INSTALL}"
        )
    package = Path(spec.submodule_search_locations[0])
    home = package / "tritonserver"
    binary = home / "bin" / "tritonserver"
    stub = home / "python_backend_stubs" / _PYTHON / "triton_python_backend_stub"
    for needed in (binary, stub):
        if not needed.is_file():
            raise MissingDependencyError(
                f"{needed} is missing from the nvidia-pytriton wheel: it has no server for Python "
                f"{_PYTHON} here. Use a Python that it supports, or run: {_INSTALL}"
            )
    return Installation(
        binary,
        _assemble_backends(home / "backends" / "python", stub),
        home / "caches",
        _python_environment(package.parent / "nvidia_pytriton.libs"),
        _wheel_version(),
    )


def _wheel_version() -> tuple[int, ...] | None:
    try:
        return _WHEEL_VERSIONS.get(version("nvidia-pytriton"))
    except PackageNotFoundError:  # only its files are there
        return None


def _assemble_backends(python_backend: Path, stub: Path) -> Path:
    """Make the folder with ``python/`` and ``onnxruntime/``, unless it is in the cache."""
    sources = {
        "python/libtriton_python.so": python_backend / "libtriton_python.so",
        "python/triton_python_backend_utils.py": python_backend / "triton_python_backend_utils.py",
        "python/triton_python_backend_stub": stub,
        "onnxruntime/model.py": _DROP_IN,
    }
    hashes = "".join(f"{name} {sha256(path)}\n" for name, path in sources.items())
    version = hashlib.sha256(hashes.encode()).hexdigest()[:16]
    destination = cache_folder() / "triton-backends" / version
    # Another process may be making the same folder; either result is right.
    with suppress(OSError):
        if not destination.is_dir():
            with atomic_folder(destination) as folder:
                for name, path in sources.items():
                    (folder / name).parent.mkdir(exist_ok=True)
                    shutil.copy(path, folder / name)
    if not destination.is_dir():
        raise MissingDependencyError(
            f"Triton's backends cannot be written to {destination}. Set XDG_CACHE_HOME to a "
            "folder that can be written to."
        )
    return destination


def _python_environment(libraries: Path) -> dict[str, str]:
    """Environment variables that give the server's Python the packages of this one."""
    searched = [str(libraries)]
    shared = Path(sysconfig.get_config_var("LIBDIR") or "") / f"libpython{_PYTHON}.so.1.0"
    if shared.is_file():
        searched.append(str(shared.parent))
    elif ctypes.util.find_library(f"python{_PYTHON}") is None:
        raise MissingDependencyError(
            f"The server's Python backend needs libpython{_PYTHON}, which is not installed. "
            f"On Debian and Ubuntu run: apt-get install libpython{_PYTHON}"
        )
    if inherited := os.environ.get("LD_LIBRARY_PATH"):
        searched.append(inherited)
    # The embedded Python ignores PYTHONPATH and uses the packages of the first python3 on PATH.
    path = [str(Path(sys.prefix) / "bin"), os.environ.get("PATH", os.defpath)]
    return {"LD_LIBRARY_PATH": os.pathsep.join(searched), "PATH": os.pathsep.join(path)}
