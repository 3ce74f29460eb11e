"""The parts of a graph are the graph, and the gate finds a part that is not."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from muqrt.common.files import sha256
from muqrt.export.bundle_from_checkpoint import bundle_from_checkpoint
from muqrt.export.parity.excerpt import Excerpt
from muqrt.export.parity.gate import parity
from muqrt.export.parity.proof import Proof
from muqrt.reference.checkpoint import Checkpoint
from muqrt.runtime.bundle.manifest import Bundle
from muqrt.runtime.engines.onnxruntime.session import OnnxSession

PARTS = ["muq-front-end.onnx", "muq-encoder.onnx"]
OUTPUTS = ["embedding", "hidden_states", "tokens"]


def weights(path: Path) -> dict[str, onnx.TensorProto]:
    graph = onnx.load(path, load_external_data=False).graph
    return {tensor.name: tensor for tensor in graph.initializer}


@pytest.mark.parametrize("level", [0, 3, None])
@pytest.mark.usefixtures("external")
def test_the_parts_give_what_the_whole_gives(
    checkpoint: Checkpoint, short_music: list[Excerpt], level: int | None, tmp_path: Path
) -> None:
    bundle = bundle_from_checkpoint(Proof(checkpoint), tmp_path / "bundle", OUTPUTS, level)
    with OnnxSession(bundle, bundle.artefacts[0], threads=1) as session:
        assert session.parts is not None
        assert set(session.outputs) - set(session.parts.encoder.outputs) == {"tokens"}
        for excerpt in short_music[-2:]:
            whole = session.run({"waveform": excerpt.waveform})
            frames = session.parts.front_end.run({"waveform": excerpt.waveform})
            for name, ours in session.parts.encoder.run(frames).items():
                np.testing.assert_allclose(ours, whole[name], rtol=1e-6, atol=1e-6)
            np.testing.assert_allclose(frames["frames"], whole["hidden_states"][:, 0], atol=1e-6)


@pytest.mark.usefixtures("external")
def test_no_weight_is_stored_twice(checkpoint: Checkpoint, tmp_path: Path) -> None:
    bundle = bundle_from_checkpoint(Proof(checkpoint), tmp_path / "bundle")
    files = bundle.artefacts[0].files
    assert set(files) == {"muq.onnx", "muq.onnx.data", *PARTS}
    whole = weights(bundle.path("muq.onnx"))
    parts = [weights(bundle.path(name)) for name in PARTS]
    assert whole.keys() == parts[0].keys() | parts[1].keys()
    for part in parts:
        assert all(tensor == whole[name] for name, tensor in part.items())
        assert any(tensor.external_data for tensor in part.values())
    shared = parts[0].keys() & parts[1].keys()
    assert all(not whole[name].external_data for name in shared)  # small constants
    for name in PARTS:
        onnx.checker.check_model(bundle.path(name), full_check=True)


@pytest.mark.parametrize(
    ("file", "suffix"), [(PARTS[0], "linear.weight"), (PARTS[1], "linear_q_k.weight")]
)
def test_a_part_that_differs_fails_the_gate(
    checkpoint: Checkpoint, short_music: list[Excerpt], file: str, suffix: str, tmp_path: Path
) -> None:
    bundle: Bundle = bundle_from_checkpoint(
        Proof(checkpoint, music=short_music[:1]), tmp_path / "bundle"
    )
    (artefact,) = bundle.artefacts
    assert artefact.certified
    model = onnx.load(bundle.path(file))
    weight = next(w for w in model.graph.initializer if w.name.endswith(suffix))
    changed = numpy_helper.to_array(weight) * np.float32(1.1)
    weight.CopyFrom(numpy_helper.from_array(changed, weight.name))
    onnx.save(model, bundle.path(file))
    artefact.files[file] = sha256(bundle.path(file))
    parity(bundle, Proof(checkpoint, music=short_music[:1]))
    assert not artefact.certified
