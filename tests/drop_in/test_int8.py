"""The drop-in answers from an int8 artefact: every level, masks, and back to other precisions."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from muqrt.drop_in import MuQ
from muqrt.errors import BundleError
from muqrt.export.bundle.recipe import add
from muqrt.export.bundle_from_checkpoint import bundle_from_checkpoint
from muqrt.export.parity.excerpt import Excerpt
from muqrt.export.parity.proof import Proof
from muqrt.export.quantize.int8.artefact import Int8Recipe
from muqrt.export.quantize.int8.calibration import calibration_music
from muqrt.export.sources.checkpoint import load_source
from muqrt.reference.checkpoint import load_checkpoint, save_checkpoint
from muqrt.reference.random_model import TINY, random_model
from muqrt.runtime.bundle.certificate import THRESHOLDS

GATE = THRESHOLDS["int8"]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of two layers."""
    folder = tmp_path_factory.mktemp("shallow") / "checkpoint"
    save_checkpoint(random_model(replace(TINY, encoder_depth=2)), folder)
    return folder


@pytest.fixture(scope="module")
def bundle(checkpoint: Path, recording: Tensor, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("int8") / "bundle"
    music = [Excerpt("recording", recording[None].numpy())]
    proof = Proof(load_source(checkpoint), music=music)
    made = bundle_from_checkpoint(proof, folder, ["features"], levels=True)
    artefact = add(made, Int8Recipe(calibration_music()[:1]), proof)
    assert artefact.quantization is not None and any(s.int8 for s in artefact.quantization.sites)
    measured = {each.audio for each in artefact.certificate.measurements}
    assert {f"recording, level {level}" for level in range(3)} <= measured
    return folder


def near(ours: Tensor, theirs: Tensor) -> None:
    ours = ours.float()
    assert ours.shape == theirs.shape
    assert (ours - theirs).norm() < GATE.relative_l2 * theirs.norm()
    assert torch.cosine_similarity(ours, theirs, -1).min() > GATE.worst_frame_cosine


def test_levels_and_masks(bundle: Path, checkpoint: Path, recording: Tensor) -> None:
    reference = load_checkpoint(checkpoint).model
    muq = MuQ.from_pretrained(bundle, artefact="onnx-int8", threads=1)
    x = torch.stack([recording, recording.flip(0)])
    mask = torch.ones_like(x)
    mask[1, 30_000:] = 0
    with torch.inference_mode():
        expected = reference(x).hidden_states
        masked = reference(x, mask).hidden_states
    found = muq(x)
    assert found.last_hidden_state.dtype == torch.float32
    for level in range(3):
        near(found.hidden_states[level], expected[level])
    exact = MuQ.from_pretrained(bundle, threads=1)(x).last_hidden_state
    assert (exact - found.last_hidden_state).norm() > 1e-4 * exact.norm()  # another artefact's
    steps = 30_000 // 960
    last = muq(x, mask).last_hidden_state
    near(last[0], masked[-1][0])
    near(last[1, :steps], masked[-1][1, :steps])


def test_other_precisions_of_the_same_bundle(bundle: Path, recording: Tensor) -> None:
    muq = MuQ.from_pretrained(bundle, artefact="onnx-int8", threads=1)
    x = recording[None]
    before = muq(x).last_hidden_state
    for change, precision in ((muq.half, "fp16"), (muq.bfloat16, "bf16")):
        with pytest.raises(BundleError, match=f"--precision {precision}"):
            change()
    assert muq.dtype == torch.float32
    assert torch.equal(muq.float().to("cpu")(x).last_hidden_state, before)
