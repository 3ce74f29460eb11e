"""Extras that people combine are installed together, and what each needs is what it gets."""

import os
import shutil
import subprocess
import sys
from importlib import metadata
from itertools import combinations
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from muqrt.common.config import read_toml

PROJECT = Path(__file__).parents[1] / "pyproject.toml"
DECLARED = read_toml(PROJECT)["project"]
EXTRAS = sorted({*DECLARED["optional-dependencies"]} - {"dev"})


def requirements(package: str, extras: frozenset[str]) -> list[Requirement]:
    """What an installed package, or this one, needs here, with some of its extras."""
    if package == "muqrt":
        by_extra = DECLARED["optional-dependencies"]
        named = [*DECLARED["dependencies"], *(each for extra in extras for each in by_extra[extra])]
        return [
            each for each in map(Requirement, named) if not each.marker or each.marker.evaluate()
        ]
    found = map(Requirement, metadata.requires(package) or [])
    given = [{"extra": extra} for extra in extras or {""}]
    return [
        each
        for each in found
        if each.marker is None or any(each.marker.evaluate(environment) for environment in given)
    ]


@pytest.mark.parametrize("extra", EXTRAS)
def test_no_extra_excludes_what_is_installed(extra: str) -> None:
    """Checked is all that the extra brings, as far as it is installed here."""
    waiting, seen = [("muqrt", frozenset({extra}))], set()
    while waiting:
        asked = waiting.pop()
        if asked in seen:
            continue
        seen.add(asked)
        for each in requirements(*asked):
            try:
                found = metadata.version(each.name)
            except metadata.PackageNotFoundError:
                continue
            assert each.specifier.contains(found, prereleases=True), (
                f"{asked[0]} needs {each}, installed is {found}"
            )
            waiting.append((each.name, frozenset(each.extras)))


# The extras without wheels for a platform, and what the resolver says is lacking. For
# people the same table is in docs/install.md.
LACKING = {
    "aarch64-manylinux_2_28": {
        "coreml": "coremltools",
        "gpu": "tensorrt",
        "litert": "litert-converter",
        "openvino": "openvino",  # its wheel asks for glibc 2.35
        "rtx": "tensorrt-rtx-cu13-bindings",  # glibc 2.35 too
    },
    "aarch64-apple-darwin": {
        "coreml": "coremltools",  # none for Python 3.14
        "gpu": "cuda-bindings",
        "rtx": "cuda-bindings",
    },
}
PYTHONS = [f"3.{minor}" for minor in range(10, 15)]


def resolve(extras: list[str], *options: str) -> subprocess.CompletedProcess[str]:
    """What uv says of this package with some extras; skips the test without uv or a network."""
    uv = shutil.which("uv") or shutil.which("uv", path=Path(sys.executable).parent)
    if uv is None:
        pytest.skip("pip install uv")
    command = [uv, "pip", "compile", "--quiet", "--no-annotate", "--no-header", *options]
    command += [str(PROJECT), *(word for extra in extras for word in ("--extra", extra))]
    # ONNX Runtime's wheels ask for macOS 14; uv supposes 13.
    environment = {**os.environ, "MACOSX_DEPLOYMENT_TARGET": "14.0"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    if "error sending request" in done.stderr:
        pytest.skip("no network")
    return done


def wheels(extras: list[str], platform: str, python: str) -> subprocess.CompletedProcess[str]:
    return resolve(
        extras,
        *("--only-binary", ":all:", "--python-platform", platform, "--python-version", python),
    )


# What resolves together does so alone, in a tenth of the time.
@pytest.mark.parametrize(
    ("platform", "python"),
    [
        pytest.param(
            platform,
            python,
            marks=[]
            if (platform, python) == ("aarch64-manylinux_2_28", "3.14")
            else pytest.mark.full,
        )
        for platform in LACKING
        for python in PYTHONS
    ],
)
def test_wheels_for_arm(platform: str, python: str) -> None:
    done = wheels([extra for extra in EXTRAS if extra not in LACKING[platform]], platform, python)
    assert done.returncode == 0, done.stderr


@pytest.mark.full
@pytest.mark.parametrize(
    ("platform", "extra"),
    [(platform, extra) for platform, extras in LACKING.items() for extra in extras],
)
def test_what_has_no_wheels_for_arm(platform: str, extra: str) -> None:
    done = wheels([extra], platform, PYTHONS[-1])
    assert done.returncode != 0, f"{extra} resolves for {platform} now: mend the tables"
    assert LACKING[platform][extra] in done.stderr


def test_the_page_names_what_has_no_wheels_for_arm() -> None:
    page = (PROJECT.parent / "docs" / "install.md").read_text(encoding="utf-8")
    rows = [line.split("|")[1:-1] for line in page.splitlines() if line.startswith("| `")]
    named = {row[0].strip().strip("`"): row[1:] for row in rows if len(row) == 4}
    assert set(named) == {extra for lacking in LACKING.values() for extra in lacking}
    for column, platform in enumerate(LACKING):
        said_no = {extra for extra, cells in named.items() if cells[column].strip() == "no"}
        assert said_no == set(LACKING[platform])


@pytest.mark.full
@pytest.mark.parametrize("pair", list(combinations(EXTRAS, 2)), ids="-".join)
def test_every_pair_resolves_with_numpy_2(pair: tuple[str, str]) -> None:
    done = resolve([*pair])
    assert done.returncode == 0, done.stderr
    (numpy,) = [line for line in done.stdout.splitlines() if line.startswith("numpy==")]
    assert int(numpy.removeprefix("numpy==").split(".")[0]) >= 2
