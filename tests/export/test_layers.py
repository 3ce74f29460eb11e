"""Hidden states level by level: where a difference begins, and how the command shows it."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from subprocess import CompletedProcess

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from muqrt.common.files import sha256
from muqrt.errors import BundleError, CheckpointError
from muqrt.export.bundle.recipe import add
from muqrt.export.bundle_from_checkpoint import bundle_from_checkpoint
from muqrt.export.layers import LevelDifference, draw, layer_differences
from muqrt.export.parity.excerpt import Excerpt
from muqrt.export.parity.proof import Proof
from muqrt.export.quantize.half.artefact import HalfRecipe
from muqrt.reference.checkpoint import Checkpoint
from muqrt.reference.muq import MuQ
from muqrt.runtime.bundle.manifest import Bundle

Command = Callable[..., CompletedProcess[str]]


@pytest.fixture
def checkpoint(tiny: MuQ) -> Checkpoint:
    return Checkpoint(tiny, "tiny", "0" * 64)


def figures(found: list[LevelDifference], artefact: str) -> np.ndarray:
    """(levels,): relative L2, by level."""
    own = [each for each in found if each.artefact == artefact]
    assert [each.level for each in own] == list(range(len(own)))
    return np.array([each.relative_l2 for each in own])


def spoil(bundle: Bundle, layer: int) -> None:
    """Change a weight of one layer in the artefact's file."""
    (artefact,) = bundle.artefacts
    path = bundle.path(artefact.file)
    model = onnx.load(path)
    suffix = f"layer_{layer}/ffn2/output_dense.weight"
    weight = next(each for each in model.graph.initializer if each.name.endswith(suffix))
    weight.CopyFrom(numpy_helper.from_array(2 * numpy_helper.to_array(weight), weight.name))
    onnx.save(model, path)
    artefact.files[artefact.file] = sha256(path)


@pytest.mark.parametrize("level", [0, 3, None])
def test_the_levels_are_the_references(
    checkpoint: Checkpoint, short_music: list[Excerpt], level: int | None, tmp_path: Path
) -> None:
    bundle = bundle_from_checkpoint(Proof(checkpoint), tmp_path / "bundle", level=level)
    seen: list[str] = []
    proof = Proof(checkpoint, music=short_music[-2:], on_step=seen.append)
    found = layer_differences(bundle, proof)
    assert seen == [each.name for each in short_music[-2:]]
    assert len(found) == (13 if level is None else level + 1)
    assert figures(found, "onnx-fp32").max() < 1e-4
    assert min(each.worst_frame_cosine for each in found) > 0.999999


def test_a_difference_begins_where_it_arises(
    checkpoint: Checkpoint, short_music: list[Excerpt], tmp_path: Path
) -> None:
    bundle = bundle_from_checkpoint(Proof(checkpoint), tmp_path / "bundle", level=4)
    spoil(bundle, layer=2)
    proof = Proof(checkpoint, music=short_music[:1])
    differences = figures(layer_differences(bundle, proof), "onnx-fp32")
    assert differences[:3].max() < 1e-4 < 1e-2 < differences[3:].min()


def test_half_precision_is_shown_with_its_roundings(
    checkpoint: Checkpoint, short_music: list[Excerpt], tmp_path: Path
) -> None:
    proof = Proof(checkpoint, music=short_music[:1])
    bundle = bundle_from_checkpoint(proof, tmp_path / "bundle", level=2)
    for precision in ("fp16", "bf16"):
        add(bundle, HalfRecipe(precision), proof)
    found = layer_differences(bundle, proof)
    exact, fp16, bf16 = (
        figures(found, name) for name in ("onnx-fp32", "onnx-fp16, emulated", "onnx-bf16, emulated")
    )
    assert (10 * exact < fp16).all() and (3 * fp16 < bf16).all() and bf16.max() < 2e-2
    # ONNX Runtime's CPU runs the one and not the other.
    names = {each.artefact for each in found}
    assert names == {"onnx-fp32", "onnx-fp16", "onnx-fp16, emulated", "onnx-bf16, emulated"}


def test_another_checkpoint_or_engine_is_refused(
    checkpoint: Checkpoint, short_music: list[Excerpt], tmp_path: Path
) -> None:
    bundle = bundle_from_checkpoint(Proof(checkpoint), tmp_path / "bundle", level=0)
    with pytest.raises(CheckpointError, match="not the checkpoint"):
        layer_differences(bundle, Proof(replace(checkpoint, sha256="1" * 64)))
    bundle.artefacts = []
    with pytest.raises(BundleError, match="no artefact is for ONNX Runtime"):
        layer_differences(bundle, Proof(checkpoint))


def test_the_chart_is_drawn(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    found = [LevelDifference("onnx-fp16", level, level * 1e-3, 1 - 1e-6) for level in range(3)]
    draw("levels", found, tmp_path / "levels.png")
    assert (tmp_path / "levels.png").read_bytes().startswith(b"\x89PNG")
    assert [each.name for each in tmp_path.iterdir()] == ["levels.png"]


def test_the_command(
    muqrt: Command,
    tiny_bundle: Path,
    tiny_checkpoint: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytest.importorskip("matplotlib")
    monkeypatch.setattr("muqrt.export.parity.excerpt.EXCERPT_SAMPLES", (24_000, 33_333))
    before = (tiny_bundle / "bundle.json").read_bytes()
    command = ["parity", tiny_bundle, "--checkpoint", tiny_checkpoint, "--layers"]
    done = muqrt(*command, "-o", tmp_path / "levels", "--json")
    assert done.returncode == 0, done.stderr
    levels = json.loads(done.stdout)["levels"]
    assert [(each["artefact"], each["level"]) for each in levels] == [
        ("onnx-fp32", level) for level in range(13)
    ]
    assert (tmp_path / "levels.png").is_file()
    done = muqrt(*command)
    assert "onnx-fp32, by level" in done.stdout and "worst cosine" in done.stdout
    assert (tiny_bundle / "bundle.json").read_bytes() == before
    done = muqrt(*command[:-1], "-o", tmp_path / "levels")
    assert (done.returncode, done.stdout) == (2, "") and "--layers" in done.stderr
