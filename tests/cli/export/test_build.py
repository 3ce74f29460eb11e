"""``muqrt build``: which engine is built in which precision, and what is refused at once."""

import json
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from muqrt.runtime.bundle.manifest import load_bundle
from muqrt.runtime.bundle.shipped import SHIPPED_BUNDLE

Command = Callable[..., CompletedProcess[str]]


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (["--precision", "fp32"], "muqrt export wrote"),
        (["--engine", "openvino", "--precision", "int8"], "openvino is built in bf16, fp32"),
        (["--engine", "torch", "--precision", "int8"], "torch is built in bf16, fp16, fp32"),
        (["--engine", "tensorrt", "--precision", "int8-qdq"], "fp16, bf16, int8, fp8, fp32"),
        (["--precision", "fp16", "--accuracy", "0.999"], "--accuracy is for --precision int8"),
        (["--batch", "1,2,3"], "go with --engine tensorrt"),
        (["--engine", "torch", "--no-plugins"], "go with --engine tensorrt"),
        (["--strip"], "go with --engine tensorrt"),
        (["--engine", "tensorrt-rtx", "--strip", "--no-plugins"], "--plugins, --strip: options of"),
        (
            ["--engine", "tensorrt-rtx", "--hardware-compatibility", "none"],
            "--hardware-compatibility: options of TensorRT that",
        ),
        (["--refit", "--weight-streaming"], "go with --engine tensorrt"),
        (["--engine", "tensorrt"], "no fp16 artefact for ONNX Runtime"),
    ],
)
def test_what_cannot_be_built_is_refused(
    muqrt: Command, bundle_copy: Path, tiny_checkpoint: Path, options: list[str], why: str
) -> None:
    before = (bundle_copy / "bundle.json").read_bytes()
    done = muqrt("build", bundle_copy, "--checkpoint", tiny_checkpoint, *options)
    assert done.returncode == 2 if "no fp16" not in why else done.returncode != 0
    assert why in " ".join(done.stderr.split())
    assert (bundle_copy / "bundle.json").read_bytes() == before


def test_every_engine_of_this_machine_joins_the_bundle(
    muqrt: Command, bundle_copy: Path, tiny_checkpoint: Path
) -> None:
    for options in (["--engine", "torch", "--precision", "fp32"], ["--precision", "fp16"]):
        done = muqrt("build", bundle_copy, "--checkpoint", tiny_checkpoint, *options, "--json")
        assert done.returncode == 0, done.stderr
        found = json.loads(done.stdout)
        assert found["certificate"]["passed"]
        assert found["seconds"]["total"]["wall"] > found["seconds"]["loading"]["wall"] > 0
    bundle = load_bundle(bundle_copy)
    assert [each.name for each in bundle.artefacts] == ["onnx-fp32", "torch-fp32", "onnx-fp16"]
    assert all(each.certified for each in bundle.artefacts)
    # Nothing but what is asked for: the first stays the default.
    assert bundle.artefact().name == "onnx-fp32"


@pytest.mark.parametrize("command", ["build", "parity"])
def test_the_shipped_bundle_stays_as_it_is(
    muqrt: Command, tiny_checkpoint: Path, tmp_path: Path, command: str
) -> None:
    named = tmp_path / "link"
    named.symlink_to(SHIPPED_BUNDLE)
    before = (SHIPPED_BUNDLE / "bundle.json").read_bytes()
    done = muqrt(command, named, "--checkpoint", tiny_checkpoint)
    assert (done.returncode, done.stdout) == (2, "")
    assert "Copy the folder and name the copy, or make a bundle with" in done.stderr
    assert (SHIPPED_BUNDLE / "bundle.json").read_bytes() == before
