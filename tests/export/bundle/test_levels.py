"""The graph of levels is the whole graph, one layer after another, with a bias for the scores."""

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from muqrt.export.bundle_from_checkpoint import bundle_from_checkpoint
from muqrt.export.parity.proof import Proof
from muqrt.reference.checkpoint import Checkpoint
from muqrt.reference.muq import MuQ
from muqrt.runtime.engines.onnxruntime.session import OnnxSession


@pytest.mark.usefixtures("external")
@pytest.mark.parametrize(
    ("level", "options"),
    [(3, {}), (None, {"target": "any"}), (None, {"compact": True}), (0, {})],
)
def test_every_level(
    tiny: MuQ, checkpoint: Checkpoint, level: int | None, options: dict, tmp_path: Path
) -> None:
    bundle = bundle_from_checkpoint(
        Proof(checkpoint), tmp_path / "bundle", level=level, levels=True, **options
    )
    deepest = bundle.artefacts[0].level
    frames = torch.randn(2, 40, 32, generator=torch.Generator().manual_seed(0))
    kept = torch.ones(2, 40, dtype=torch.bool)
    kept[1, 25:] = False
    with OnnxSession(bundle, bundle.artefacts[0], threads=1) as session, torch.inference_mode():
        assert session.levels is not None and session.levels.deepest == deepest
        for mask in (None, kept):
            expected = tiny.model.conformer(frames, mask)
            x = expected[0].numpy()  # with a mask zeros where it is
            bias = None if mask is None else np.where(kept, 0, -3e4)[:, None, None]
            bias = None if bias is None else bias.astype(np.float32)
            for first, last in ((0, deepest), (0, 0), (deepest // 2, deepest)):
                start = x if first == 0 else session.levels.run(x, 0, first, bias)
                ours = session.levels.run(start, first, last, bias)
                theirs = expected[last].numpy()
                assert np.linalg.norm(ours - theirs) < 1e-5 * np.linalg.norm(theirs)


@pytest.mark.usefixtures("external")
def test_no_weight_is_stored_twice(checkpoint: Checkpoint, tmp_path: Path) -> None:
    bundle_from_checkpoint(Proof(checkpoint), tmp_path / "plain")
    bundle_from_checkpoint(Proof(checkpoint), tmp_path / "levels", levels=True)
    names = [{path.name for path in (tmp_path / name).iterdir()} for name in ("plain", "levels")]
    assert names[1] - names[0] == {"muq-levels.onnx"}
    graph = onnx.load(tmp_path / "levels" / "muq-levels.onnx", load_external_data=False).graph
    branches = [
        attribute.g
        for node in graph.node
        if node.op_type == "If"
        for attribute in node.attribute
        if attribute.name == "then_branch"
    ]
    assert len(branches) == 12
    weights = [tensor for each in (graph, *branches) for tensor in each.initializer]
    large = [tensor for tensor in weights if tensor.data_location == onnx.TensorProto.EXTERNAL]
    assert len(large) == 12 * 10
    places = [{each.key: each.value for each in tensor.external_data} for tensor in large]
    assert {each["location"] for each in places} == {"muq.onnx.data"}
    assert len({each["offset"] for each in places}) == len(large)
    assert sum(len(tensor.raw_data) for tensor in weights) < 100_000


def test_long_inputs_are_cut_as_in_the_encoder(checkpoint: Checkpoint, tmp_path: Path) -> None:
    bundle = bundle_from_checkpoint(Proof(checkpoint), tmp_path / "bundle", level=2, levels=True)
    frames = np.random.default_rng(0).standard_normal((1, 1_601, 32), np.float32)
    with OnnxSession(bundle, bundle.artefacts[0], threads=1) as session:
        whole = session.parts.encoder.run({"frames": frames}, ["features"])["features"]
        np.testing.assert_allclose(session.levels.run(frames, 0, 2), whole, rtol=1e-5, atol=1e-5)
