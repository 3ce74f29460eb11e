"""What a killed build leaves goes with the next one; what a running one has stays."""

import shutil
from pathlib import Path

import pytest

from muqrt.errors import BundleError
from muqrt.export.bundle.recipe import add
from muqrt.export.bundle_from_checkpoint import _check_target
from muqrt.export.engines.pytorch import TorchRecipe
from muqrt.export.parity.proof import Proof
from muqrt.reference.checkpoint import load_checkpoint
from muqrt.runtime.bundle.manifest import load_bundle

LEFT = ".build-0123abcd.muqrt-partial"


def test_what_a_killed_build_left_goes_with_the_next(
    bundle_copy: Path, tiny_checkpoint: Path
) -> None:
    (bundle_copy / LEFT).mkdir()
    (bundle_copy / LEFT / "muq.onnx").touch()
    add(load_bundle(bundle_copy), TorchRecipe("fp32"), Proof(load_checkpoint(tiny_checkpoint)))
    assert not [each.name for each in bundle_copy.iterdir() if each.name.startswith(".")]


def test_what_a_killed_build_left_does_not_keep_a_bundle_from_being_replaced(
    tiny_bundle: Path, tmp_path: Path
) -> None:
    copy = shutil.copytree(tiny_bundle, tmp_path / "bundle")
    (copy / LEFT).mkdir()
    (copy / LEFT / "muq.onnx").touch()
    (copy / ".muqrt-lock").touch()
    _check_target(copy, 0)
    (copy / "notes.txt").touch()
    with pytest.raises(BundleError, match="choose another folder"):
        _check_target(copy, 0)
