"""``muqrt bench targets``: every target's certificate in one table."""

import json
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from ...arm64.root import CORES, UnavailableError, pythons

Command = Callable[..., CompletedProcess[str]]


@pytest.mark.full
def test_here_and_on_an_emulated_processor(
    muqrt: Command, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    try:
        python = pythons()["cortex-a72"]
    except UnavailableError as reason:
        pytest.skip(str(reason))
    broken = tmp_path / "python"
    broken.write_text("#!/bin/sh\necho no such processor >&2\nexit 1\n")
    broken.chmod(0o755)
    emulated = ("--emulated", f"broken={broken}", "--emulated", f"a72={python}")
    about = ("--longest-seconds", 1, "--rounds", 3, *emulated)
    done = muqrt("bench", "targets", tiny_checkpoint, *about, "-o", tmp_path / "found", "--json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    here, there = ([x for x in report["found"] if x["emulated"] == name] for name in ("", "a72"))
    sizes = {each["artefact"]: each["size_bytes"] for each in here}
    assert {"onnx-fp32", "onnx-int8", "ort-fp32", "ort-int8"} <= {*sizes}
    assert sizes["ort-int8"] < sizes["ort-fp32"]
    assert {each["artefact"]: each["size_bytes"] for each in there}.items() <= sizes.items()
    assert {"onnx-fp32", "ort-int8"} <= {each["artefact"] for each in there}
    part = CORES["cortex-a72"][0]
    for each in there:
        assert each["passed"] and each["processor"].endswith(f"part {part}")
        assert each["samples_seconds"] == []
    for each in here:
        assert each["passed"] and 0 < each["relative_l2"] < 0.08
        assert each["worst_frame_cosine"] > 0.99
        has_tokens = each["artefact"].startswith(("onnx", "ort"))  # files for phones have none
        assert each["equal_tokens"] > 0.999 if has_tokens else each["equal_tokens"] is None
        assert each["largest_tag_change"] is None
    assert all(len(each["samples_seconds"]) == 3 for each in here)
    assert report["refused"]["broken"].endswith("proves nothing there: no such processor")
    page = (tmp_path / "found.md").read_text()
    assert page.count("a72, emulated | ") == len(there)


@pytest.mark.parametrize("given", ["a72", "a72=", "=python", "a/b=setup.py", "a72=missing"])
def test_what_is_refused(muqrt: Command, tiny_checkpoint: Path, given: str) -> None:
    done = muqrt("bench", "targets", tiny_checkpoint, "--emulated", given)
    assert done.returncode == 2 and "give a name and a program" in done.stderr
