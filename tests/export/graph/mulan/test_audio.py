from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from muqrt.errors import UsageError
from muqrt.export.bundle.parts import part
from muqrt.export.onnx_from_checkpoint import TARGETS, onnx_from_checkpoint
from muqrt.export.parity.excerpt import Excerpt
from muqrt.export.sources.checkpoint import JointCheckpoint
from muqrt.export.sources.sources import Sources
from muqrt.reference.mulan.model import MuLan
from muqrt.reference.muq import MuQ
from muqrt.runtime.bundle.certificate import THRESHOLDS
from muqrt.runtime.bundle.joint import Joint
from muqrt.runtime.bundle.parts import frames_spec
from muqrt.runtime.bundle.record import TensorSpec

Same = Callable[..., None]
Run = Callable[[onnx.ModelProto], Callable[..., np.ndarray]]

# Two float32 transforms of music with empty bands differ, and both from a float64 one: 1e-5 here.
FROM_WAVEFORM = THRESHOLDS["fp32"].relative_l2

every_target = pytest.mark.parametrize("target", TARGETS)


@pytest.fixture(scope="module")
def clips(all_excerpts: list[Excerpt]) -> list[np.ndarray]:
    """Music of 2 and of 10 s, of an odd length, a batch of two clips, and the shortest there is."""
    song, other = (all_excerpts[index].waveform for index in (2, 3))
    pair = np.concatenate([song[:, :48_000], other[:, :48_000]])
    return [song[:, :48_000], song[:, :240_000], other[:, :33_333], pair, song[:, 9_000:10_025]]


def reference(model: MuLan, waveform: np.ndarray) -> np.ndarray:
    with torch.inference_mode():
        return model.audio_latents(torch.from_numpy(waveform)).numpy()


def audio_graph(model: MuLan, target: str = "cpu") -> onnx.ModelProto:
    joint = Joint(
        width=model.config.mulan.dim_latent,
        clip_samples=240_000,
        temperature=1.0,
        tokenizer="tokenizer.json",
        tokenizer_sha256="0" * 64,
        vocabulary=1,
        max_tokens=2,
    )
    source = JointCheckpoint(muq_of(model), "random", "0" * 64, model, joint, Path())
    sources = Sources(joint=source)
    return onnx_from_checkpoint(source.model, ["latents"], source.level, target, sources)


def muq_of(model: MuLan) -> MuQ:
    return model.mulan.audio.model


def level_of(model: MuLan) -> int:
    return range(muq_of(model).config.encoder_depth + 1)[model.mulan.audio.level]


def weights(model: onnx.ModelProto) -> dict[str, bytes]:
    return {each.name: each.raw_data for each in model.graph.initializer}


@pytest.fixture
def assert_the_references(
    clips: list[np.ndarray], runner: Run, assert_same: Same
) -> Callable[[MuLan, str], None]:
    def check(model: MuLan, target: str) -> None:
        tower = runner(audio_graph(model, target))
        for clip in clips:
            assert_same(tower(waveform=clip), reference(model, clip), FROM_WAVEFORM)

    return check


@every_target
def test_golden_models(
    golden_mulan: MuLan, assert_the_references: Callable[[MuLan, str], None], target: str
) -> None:
    assert_the_references(golden_mulan, target)


@every_target
def test_random_model(
    tiny_mulan: MuLan, assert_the_references: Callable[[MuLan, str], None], target: str
) -> None:
    assert_the_references(tiny_mulan, target)


def test_rows_that_are_mixed_up_would_show(tiny_mulan: MuLan, clips: list[np.ndarray]) -> None:
    one, two = (reference(tiny_mulan, clips[3][row : row + 1]) for row in range(2))
    assert np.abs(one - two).max() > 1e-3


@every_target
def test_the_muq_is_that_of_its_own_graph(golden_mulan: MuLan, target: str) -> None:
    """So that both can read one file of weights."""
    level = level_of(golden_mulan)
    muq = weights(onnx_from_checkpoint(muq_of(golden_mulan), ["features"], level, target))
    ours = weights(audio_graph(golden_mulan, target))
    assert muq.items() <= ours.items()
    assert all(name.startswith(("audio/", "constant.")) for name in ours.keys() - muq.keys())


def test_the_part_from_the_frames(
    golden_mulan: MuLan, clips: list[np.ndarray], runner: Run, assert_same: Same
) -> None:
    model = audio_graph(golden_mulan)
    muq = golden_mulan.mulan.audio.model
    output = TensorSpec(name="latents", dtype="float32", shape=["batch", "width"])
    tower = runner(part(model, [frames_spec(muq.config.encoder_dim)], [output]))
    for clip in clips:
        with torch.inference_mode():
            frames = muq(torch.from_numpy(clip)).hidden_states[0].numpy()
        assert_same(tower(frames=frames), reference(golden_mulan, clip))


def test_a_target_that_is_not_there(tiny_mulan: MuLan) -> None:
    with pytest.raises(UsageError, match="cpu, any"):
        audio_graph(tiny_mulan, "tpu")
