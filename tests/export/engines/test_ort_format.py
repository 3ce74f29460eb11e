"""One file in ONNX Runtime's own format: the same answers, proven, with the operators it needs."""

import json
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import numpy as np
import onnxruntime
import pytest

from muqrt.errors import BundleError
from muqrt.export.bundle.recipe import add
from muqrt.export.engines.ort_format import OrtFormatRecipe
from muqrt.export.parity.proof import Proof
from muqrt.runtime.bundle.manifest import load_bundle
from muqrt.runtime.load import load
from muqrt.triton_repo.contract.config import parse_config
from muqrt.triton_repo.repository.write import write_repository

Command = Callable[..., CompletedProcess[str]]


def test_one_file_with_the_same_answers_and_its_operators(
    muqrt: Command, bundle_copy: Path, music: Path, tmp_path: Path
) -> None:
    song = music / "greensleeves_duo.flac"
    with load(bundle_copy, threads=1) as model:
        expected = model.embed(song)
    done = muqrt("build", bundle_copy, "--format", "ort", "--json")
    assert done.returncode == 0, done.stderr
    added = json.loads(done.stdout)
    assert added["name"] == "ort-fp32" and added["certificate"]["passed"]
    operators = "muq-fp32.required-operators.config"
    assert added["file"] == "muq-fp32.ort"
    assert added["files"].keys() == {"muq-fp32.ort", operators}
    bundle = load_bundle(bundle_copy)
    # The list has the format of ONNX Runtime's build: domain;opset;operators.
    lines = [line.split(";") for line in (bundle_copy / operators).read_text().splitlines()]
    needed = {
        name for domain, _, names in lines if domain == "ai.onnx" for name in names.split(",")
    }
    assert {"MatMul", "Softmax"} <= needed
    assert {domain for domain, _, _ in lines} <= {"ai.onnx", "com.microsoft"}
    # It needs nothing beside it, and the first artefact stays the default.
    for name in bundle.named("onnx-fp32").files:
        (bundle_copy / name).unlink()
    assert bundle.artefact().name == "onnx-fp32"
    with load(bundle_copy, "ort-fp32", threads=1) as model:
        np.testing.assert_allclose(model.embed(song), expected, atol=1e-4)
    # A server has it under the suffix by which ONNX Runtime knows it.
    write_repository(bundle, tmp_path / "models", "ort-fp32")
    served = tmp_path / "models" / "muq"
    filename = parse_config((served / "config.pbtxt").read_text()).default_model_filename
    session = onnxruntime.InferenceSession(str(served / "1" / filename))
    assert [each.name for each in session.get_inputs()] == ["waveform"]
    content = bytearray((bundle_copy / "muq-fp32.ort").read_bytes())
    content[len(content) // 2] ^= 1
    (bundle_copy / "muq-fp32.ort").write_bytes(content)
    with pytest.raises(BundleError, match="ort has changed"):
        load(bundle_copy, "ort-fp32")


def test_int8_is_made_from_the_bundle_s_int8(bundle_copy: Path) -> None:
    bundle = load_bundle(bundle_copy)
    with pytest.raises(BundleError, match="no artefact onnx-int8, which the file is made from"):
        add(bundle, OrtFormatRecipe("int8"), Proof(None))
    assert [each.name for each in load_bundle(bundle_copy).artefacts] == ["onnx-fp32"]


@pytest.mark.parametrize(
    "options",
    [
        ["--precision", "fp16"],
        ["--engine", "openvino"],
        ["--tower", "text"],
        ["--accuracy", "0.999"],
    ],
)
def test_what_has_no_such_format(muqrt: Command, bundle_copy: Path, options: list[str]) -> None:
    done = muqrt("build", bundle_copy, "--format", "ort", *options)
    assert done.returncode == 2
    assert "--format ort goes with" in done.stderr or "--accuracy is for" in done.stderr


@pytest.mark.full
def test_int8_in_one_file(
    muqrt: Command, bundle_copy: Path, tiny_checkpoint: Path, music: Path
) -> None:
    assert muqrt("build", bundle_copy, "--checkpoint", tiny_checkpoint).returncode == 0
    done = muqrt("build", bundle_copy, "--format", "ort", "--precision", "int8", "--json")
    assert json.loads(done.stdout)["certificate"]["passed"], done.stderr
    song = music / "greensleeves_duo.flac"
    whole, alone = (
        load(bundle_copy, name, threads=1).embed(song) for name in ("onnx-int8", "ort-int8")
    )
    np.testing.assert_allclose(alone, whole, atol=0.05 * np.abs(whole).max())
