"""An artefact for OpenVINO: beside the ONNX one, with its weights, proven or not there at all."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from muqrt.export.bundle.recipe import add
from muqrt.export.engines.openvino import OpenVinoRecipe
from muqrt.export.parity.excerpt import Excerpt
from muqrt.export.parity.proof import Proof
from muqrt.export.sources.head import load_tag_head
from muqrt.export.sources.rvq import own_rvq
from muqrt.reference.checkpoint import Checkpoint
from muqrt.runtime.bundle import certificate
from muqrt.runtime.bundle.manifest import load_bundle
from muqrt.runtime.engines.open_session import open_session

openvino = pytest.importorskip("openvino", reason="pip install 'muqrt[openvino]'")


def files(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_fp32_with_tags_is_certified_beside_the_onnx_artefact(
    checkpoint: Checkpoint, tagged_copy: Path, tiny_head: Path, very_short_music: list[Excerpt]
) -> None:
    before = load_bundle(tagged_copy)
    head = load_tag_head(tiny_head)
    add(before, OpenVinoRecipe("fp32"), Proof(checkpoint, head, music=very_short_music))
    bundle = load_bundle(tagged_copy)
    assert [each.name for each in bundle.artefacts] == ["onnx-fp32", "openvino-fp32"]
    assert all(each.certified for each in bundle.artefacts)
    assert bundle.artefact().name == "onnx-fp32"
    first, added = bundle.artefacts
    assert (added.engine, added.precision, added.target) == ("openvino", "fp32", first.target)
    assert added.inputs == first.inputs and added.outputs == first.outputs
    measured = {each.output for each in added.certificate.measurements if added.certificate}
    assert {"features", "embedding", "tags"} <= measured


def test_bf16_is_near_and_is_not_fp32(
    checkpoint: Checkpoint, token_bundle: Path, tmp_path: Path
) -> None:
    if "BF16" not in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        pytest.skip("this processor has no bf16 instructions")
    folder = shutil.copytree(token_bundle, tmp_path / "bundle")
    for precision in ("fp32", "bf16"):
        proof = Proof(checkpoint, rvq=own_rvq(checkpoint))
        add(load_bundle(folder), OpenVinoRecipe(precision), proof)
    bundle = load_bundle(folder)
    samples = np.random.default_rng(0).uniform(-0.5, 0.5, (1, 33_333)).astype(np.float32)
    exact, rounded = (
        open_session(bundle, each, threads=1).run({"waveform": samples})
        for each in bundle.artefacts[1:]
    )
    error = np.linalg.norm(exact["features"] - rounded["features"])
    error /= np.linalg.norm(exact["features"])
    assert 1e-4 < error < certificate.THRESHOLDS["bf16"].relative_l2
    # The log-mel and its tokens stay fp32.
    np.testing.assert_array_equal(rounded["tokens"], exact["tokens"])


def test_the_front_end_alone_can_be_added(checkpoint: Checkpoint, tmp_path: Path) -> None:
    from muqrt.export.bundle_from_checkpoint import bundle_from_checkpoint

    bundle_from_checkpoint(Proof(checkpoint), tmp_path / "bundle", level=0)
    bundle = load_bundle(tmp_path / "bundle")
    add(bundle, OpenVinoRecipe("fp32"), Proof(checkpoint))
    waveform = np.random.default_rng(0).uniform(-0.5, 0.5, (1, 9_999)).astype(np.float32)
    expected, found = (
        open_session(bundle, each, threads=1).run({"waveform": waveform}, ["features"])["features"]
        for each in bundle.artefacts
    )
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4)
