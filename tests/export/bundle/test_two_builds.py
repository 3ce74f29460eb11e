"""Two real ``muqrt build`` at once: both artefacts are in the bundle, and no file is nobody's."""

import subprocess
import sys
from pathlib import Path

import pytest

from muqrt.runtime.bundle.manifest import MANIFEST, load_bundle


@pytest.mark.full
def test_both_are_added(bundle_copy: Path, tiny_checkpoint: Path, music: Path) -> None:
    clip = music / "greensleeves_duo.flac"
    command = [sys.executable, "-m", "muqrt", "build", bundle_copy]
    command += ["--checkpoint", tiny_checkpoint, "--music", clip, "--precision"]
    builds = [
        subprocess.Popen([*command, precision], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        for precision in ("fp16", "int8-weights", "bf16")
    ]
    assert [(build.communicate(), build.returncode)[1] for build in builds] == [0, 0, 0]
    bundle = load_bundle(bundle_copy)
    names = {"onnx-fp32", "onnx-fp16", "onnx-int8-weights", "onnx-bf16"}
    assert {each.name for each in bundle.artefacts} == names
    for each in bundle.artefacts:
        bundle.verify(each)
    assert bundle.answers is not None
    known = {name for each in bundle.artefacts for name in each.files}
    known |= {MANIFEST, bundle.answers.file}
    assert {each.name for each in bundle_copy.iterdir()} == known
