from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from muqrt.errors import UsageError
from muqrt.export.graph.saving import save_onnx
from muqrt.export.onnx_from_checkpoint import TARGETS, onnx_from_checkpoint
from muqrt.export.parity.excerpt import Excerpt
from muqrt.reference.config import ConformerConfig, MuQConfig
from muqrt.reference.muq import MuQ
from muqrt.reference.random_model import random_model
from muqrt.runtime.bundle.certificate import THRESHOLDS

RELATIVE_L2 = THRESHOLDS["fp32"].relative_l2
DEPTH = 12


def session(model: onnx.ModelProto) -> ort.InferenceSession:
    return ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])


def states(model: MuQ, waveform: np.ndarray) -> list[np.ndarray]:
    with torch.inference_mode():
        return [state.numpy() for state in model(torch.from_numpy(waveform)).hidden_states]


def relative(ours: np.ndarray, reference: np.ndarray) -> float:
    assert ours.shape == reference.shape
    return float(np.linalg.norm(ours - reference) / np.linalg.norm(reference))


@pytest.mark.parametrize("target", TARGETS)
def test_every_level_matches_the_reference(
    tiny: MuQ, short_music: list[Excerpt], target: str
) -> None:
    model = onnx_from_checkpoint(tiny, ["hidden_states", "features", "embedding"], target=target)
    onnx.checker.check_model(model, full_check=True)
    running = session(model)
    for excerpt in short_music:
        stacked, features, embedding = running.run(None, {"waveform": excerpt.waveform})
        expected = states(tiny, excerpt.waveform)
        assert stacked.shape[1] == len(expected) == DEPTH + 1
        for level, state in enumerate(expected):
            assert relative(stacked[:, level], state) <= RELATIVE_L2
        assert relative(features, expected[-1]) <= RELATIVE_L2
        assert relative(embedding, expected[-1].mean(1)) <= RELATIVE_L2


@pytest.mark.parametrize("level", [0, 1, 6, 11, 12])
def test_early_exit_leaves_the_deeper_layers_out(
    tiny: MuQ, short_music: list[Excerpt], level: int
) -> None:
    model = onnx_from_checkpoint(tiny, ["features"], level)
    layers = {name.split("/")[1] for name in weights(model) if "conformer/layer_" in name}
    layers -= {"layer_norm.weight", "layer_norm.bias"}  # the encoder's, at the deepest level
    assert layers == {f"layer_{index}" for index in range(level)}
    waveform = short_music[0].waveform
    (ours,) = session(model).run(None, {"waveform": waveform})
    assert relative(ours, states(tiny, waveform)[level]) <= RELATIVE_L2


def weights(model: onnx.ModelProto) -> list[str]:
    return [tensor.name for tensor in model.graph.initializer]


@pytest.fixture(scope="module")
def tiny_sessions(tiny: MuQ) -> dict[str, ort.InferenceSession]:
    return {t: session(onnx_from_checkpoint(tiny, ["features"], target=t)) for t in TARGETS}


@given(batch=st.integers(1, 3), samples=st.integers(1025, 9000), seed=st.integers(0, 99))
@settings(max_examples=25, deadline=None)
def test_any_batch_and_length(
    tiny: MuQ, tiny_sessions: dict[str, ort.InferenceSession], batch: int, samples: int, seed: int
) -> None:
    noise = np.random.default_rng(seed).normal(0, 0.1, (batch, samples)).astype(np.float32)
    expected = states(tiny, noise)[-1]
    for running in tiny_sessions.values():
        (ours,) = running.run(None, {"waveform": noise})
        assert relative(ours, expected) <= RELATIVE_L2


def test_fifty_features_a_second(short_music: list[Excerpt]) -> None:
    config = MuQConfig(
        label_rate=50,
        conv_dim=4,
        encoder_dim=16,
        encoder_depth=1,
        w2v2_config=vars(
            ConformerConfig(
                num_attention_heads=2,
                intermediate_size=8,
                num_conv_pos_embeddings=8,
                num_conv_pos_embedding_groups=4,
            )
        ),
    )
    model = random_model(config)
    waveform = short_music[0].waveform
    (ours,) = session(onnx_from_checkpoint(model, ["features"])).run(None, {"waveform": waveform})
    assert ours.shape[1] == 50
    assert relative(ours, states(model, waveform)[-1]) <= RELATIVE_L2


def test_the_graph_is_restructured(tiny: MuQ) -> None:
    model = onnx_from_checkpoint(tiny)
    operators = [node.op_type for node in model.graph.node]
    assert "BatchNormalization" not in operators
    assert sum("linear_q_k.weight" in name for name in weights(model)) == DEPTH
    assert [(f.domain, f.name) for f in model.functions] == [("muqrt", "LogMel")]
    assert operators.count("LogMel") == 1
    # One depthwise convolution a layer: the front end's are in Winograd form.
    assert operators.count("Conv") == DEPTH


def test_the_same_checkpoint_gives_the_same_bytes(tiny: MuQ) -> None:
    first, second = (onnx_from_checkpoint(tiny).SerializeToString() for _ in range(2))
    assert first == second


def test_large_weights_go_beside_the_graph(
    tiny: MuQ, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("muqrt.export.graph.saving._EXTERNAL_DATA_FROM_BYTES", 0)
    files = save_onnx(onnx_from_checkpoint(tiny, ["features"]), tmp_path / "muq.onnx")
    assert [path.name for path in files] == ["muq.onnx", "muq.onnx.data"]
    assert all(
        len(t.raw_data) < 1024
        for t in onnx.load(files[0], load_external_data=False).graph.initializer
    )
    waveform = np.random.default_rng(0).normal(0, 0.1, (1, 5000)).astype(np.float32)
    running = ort.InferenceSession(str(files[0]), providers=["CPUExecutionProvider"])
    (ours,) = running.run(None, {"waveform": waveform})
    assert relative(ours, states(tiny, waveform)[-1]) <= RELATIVE_L2


@pytest.mark.parametrize("level", [-1, 13])
def test_a_level_that_is_not_there(tiny: MuQ, level: int) -> None:
    with pytest.raises(UsageError, match="levels 0 to 12"):
        onnx_from_checkpoint(tiny, level=level)


def test_a_target_that_is_not_there(tiny: MuQ) -> None:
    with pytest.raises(UsageError, match="cpu, any"):
        onnx_from_checkpoint(tiny, target="tpu")


@pytest.mark.parametrize("outputs", [[], ["tags"], ["features", "logits"]])
def test_an_output_that_is_not_there(tiny: MuQ, outputs: list[str]) -> None:
    asked_for = r"choose among .*; tags with --head; tokens with --rvq; scores with --head\."
    with pytest.raises(UsageError, match=asked_for):
        onnx_from_checkpoint(tiny, outputs)
