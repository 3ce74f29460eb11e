"""ARM64 Linux with muqrt's runtime, from Debian's and PyPI's packages, emulated by qemu.

``python tests/arm64/root.py`` makes it and says which program is the Python of which processor.
Nothing of the host's is changed, and no emulated program needs to be root.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from muqrt.common.config import read_toml
from muqrt.common.lock import locked

REPOSITORY = Path(__file__).parents[2]
CACHE = Path(sys.prefix) / "arm64"
PYTHON = "3.11"  # Debian 12's
DEBIAN, KEYRING = "bookworm", Path("/usr/share/keyrings/debian-archive-keyring.gpg")
# What qemu calls a processor, and what Linux says of it in /proc/cpuinfo. ONNX Runtime chooses its
# code by the latter: the two must agree.
CORES = {
    "cortex-a72": ("0xd08", "fp asimd evtstrm aes pmull sha1 sha2 crc32 cpuid"),
    "neoverse-n1": (
        "0xd0c",
        "fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc "
        "dcpop asimddp ssbs",
    ),
}
_APT = """APT::Architecture "arm64";
APT::Architectures {{ "arm64"; }};
APT::Install-Recommends "false";
APT::Sandbox::User "";
APT::Update::Error-Mode "any";
Dir::Etc::sourcelist "{folder}/sources.list";
Dir::Etc::sourceparts "/dev/null";
Dir::Etc::parts "/dev/null";
Dir::State::Lists "{folder}/lists";
Dir::State::status "{folder}/status";
Dir::Cache "{folder}/cache";
"""
_SOURCE = f"deb [signed-by={KEYRING}] http://deb.debian.org/debian {DEBIAN} main\n"
_CPUINFO = """processor\t: 0
BogoMIPS\t: 100.00
Features\t: {features}
CPU implementer\t: 0x41
CPU architecture: 8
CPU variant\t: 0x0
CPU part\t: {part}
CPU revision\t: 3
"""
_PLATFORMS = ("manylinux_2_28", "manylinux_2_27", "manylinux_2_17", "manylinux2014")
_LAUNCHER = """#!/bin/sh
# Python on an emulated {name}.
export PYTHONPATH={path} PYTHONPYCACHEPREFIX={bytecode} PYTHONNOUSERSITE=1
exec {emulator} -L {root} -cpu {name} {root}/usr/bin/python{python} "$@"
"""
_NO_NETWORK = ("Temporary failure resolving", "Could not connect", "NewConnectionError")


class UnavailableError(Exception):
    """Why ARM64 cannot be emulated here."""


def pythons(*extras: str) -> dict[str, Path]:
    """The program that is Python on each of ``CORES``; what is not there yet is downloaded.

    Args:
        extras: of muqrt, installed too.

    Raises:
        UnavailableError: a program or the network is missing.
    """
    emulator = shutil.which("qemu-aarch64")
    if emulator is None:
        raise UnavailableError("needs qemu-aarch64: apt-get install qemu-user")
    with locked(CACHE):
        root = _root()
        paths = [_packages(extra) for extra in ("", *extras)]
        path = os.pathsep.join(map(str, [*paths, _source(root)]))
        return {name: _python(name, root, path, emulator, extras) for name in CORES}


def _root() -> Path:
    """Debian's Python and what it needs, unpacked."""
    folder = CACHE / f"{DEBIAN}-{_digest(_APT, _SOURCE)}"
    if folder.exists():
        return folder
    if not KEYRING.exists() or not shutil.which("dpkg-deb"):
        raise UnavailableError(f"needs apt and {KEYRING}: apt-get install debian-archive-keyring")
    with tempfile.TemporaryDirectory(dir=CACHE) as name:
        work = Path(name)
        (work / "apt.conf").write_text(_APT.format(folder=work))
        (work / "sources.list").write_text(_SOURCE)
        (work / "status").touch()
        (work / "lists" / "partial").mkdir(parents=True)
        (work / "cache" / "archives" / "partial").mkdir(parents=True)
        apt = ["apt-get", "-qq"]
        environment = {"APT_CONFIG": str(work / "apt.conf")}
        _run([*apt, "update"], **environment)
        wanted = [f"python{PYTHON}-minimal", f"libpython{PYTHON}-stdlib", "libstdc++6"]
        _run([*apt, "install", "--yes", "--download-only", *wanted], **environment)
        for package in (work / "cache" / "archives").glob("*.deb"):
            _run(["dpkg-deb", "-x", str(package), str(work / "root")])
        (work / "root").rename(folder)
    return folder


def _packages(extra: str) -> Path:
    """The folder of muqrt's dependencies, or of those that one of its extras adds."""
    project = read_toml(REPOSITORY / "pyproject.toml")["project"]
    wanted: list[str] = project["optional-dependencies"][extra] if extra else []
    named = {f"muqrt[{each}]" for each in project["optional-dependencies"]} & {*wanted}
    for each in named:
        wanted += project["optional-dependencies"][each[len("muqrt[") : -1]]
    wanted = [*project["dependencies"], *(each for each in wanted if each not in named)]
    folder = CACHE / f"{extra or 'runtime'}-{_digest(*wanted)}"
    if not folder.exists():
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-compile"]
        pip += ["--only-binary=:all:", "--implementation=cp", f"--python-version={PYTHON}"]
        pip += [f"--platform={each}_aarch64" for each in _PLATFORMS]
        with tempfile.TemporaryDirectory(dir=CACHE) as name:
            _run([*pip, "--target", f"{name}/packages", *wanted])
            (Path(name) / "packages").rename(folder)
    return folder


def _source(root: Path) -> Path:
    """A folder with muqrt, which is this repository, and with its name and version."""
    folder = root / "source"
    version = read_toml(REPOSITORY / "pyproject.toml")["project"]["version"]
    metadata = folder / f"muqrt-{version}.dist-info" / "METADATA"
    metadata.parent.mkdir(parents=True, exist_ok=True)
    _write(metadata, f"Metadata-Version: 2.1\nName: muqrt\nVersion: {version}\n")
    if not (folder / "muqrt").is_symlink():
        (folder / "muqrt").symlink_to(REPOSITORY)
    return folder


def _python(name: str, root: Path, path: str, emulator: str, extras: Sequence[str]) -> Path:
    """A folder that is the root with a processor's own /proc, and the program that starts there."""
    own = CACHE / name
    (own / "proc").mkdir(parents=True, exist_ok=True)
    part, features = CORES[name]
    _write(own / "proc" / "cpuinfo", _CPUINFO.format(part=part, features=features))
    for each in root.iterdir():
        link = own / each.name
        if each.name != "proc" and not (link.is_symlink() and link.readlink() == each):
            link.unlink(missing_ok=True)
            link.symlink_to(each)
    launcher = own / "-".join(["python", *extras])
    _write(
        launcher,
        _LAUNCHER.format(
            name=name,
            path=path,
            bytecode=CACHE / "bytecode",
            emulator=emulator,
            root=own,
            python=PYTHON,
        ),
    )
    launcher.chmod(0o755)
    return launcher


def _write(path: Path, text: str) -> None:
    """Only where it says something else: another test may be running it."""
    if not path.exists() or path.read_text() != text:
        path.write_text(text)


def _digest(*texts: str) -> str:
    return hashlib.sha256("\n".join(texts).encode()).hexdigest()[:8]


def _run(command: list[str], **environment: str) -> None:
    done = subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, **environment}
    )
    if done.returncode != 0:
        said = done.stdout + done.stderr
        if any(each in said for each in _NO_NETWORK):
            raise UnavailableError("no network")
        raise RuntimeError(f"{' '.join(command)}\n{said}")


if __name__ == "__main__":
    try:
        print(*pythons(*sys.argv[1:]).values(), sep="\n")
    except UnavailableError as reason:
        sys.exit(str(reason))
