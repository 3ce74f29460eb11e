"""Extras that people combine are installed together, and what each needs is what it gets."""

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


@pytest.mark.full
@pytest.mark.parametrize("pair", list(combinations(EXTRAS, 2)), ids="-".join)
def test_every_pair_resolves_with_numpy_2(pair: tuple[str, str]) -> None:
    uv = shutil.which("uv") or shutil.which("uv", path=Path(sys.executable).parent)
    if uv is None:
        pytest.skip("pip install uv")
    command = [uv, "pip", "compile", "--quiet", "--no-annotate", "--no-header", str(PROJECT)]
    command += [word for extra in pair for word in ("--extra", extra)]
    done = subprocess.run(command, capture_output=True, text=True)
    if "error sending request" in done.stderr:
        pytest.skip("no network")
    assert done.returncode == 0, done.stderr
    (numpy,) = [line for line in done.stdout.splitlines() if line.startswith("numpy==")]
    assert int(numpy.removeprefix("numpy==").split(".")[0]) >= 2
