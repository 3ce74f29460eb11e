"""What every implementation of MelRvq must do, against the naive residual form.

An implementation is a callable of (log_mel, tables, frames_per_step) that gives tokens, all numpy.
Add it to ``IMPLEMENTATIONS``, and the tests here run over it.
"""

from collections.abc import Callable
from functools import cache

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

from muqrt.kernels.mel_rvq.contract import MelRvqTables, Stage, reconstructions, tables
from muqrt.kernels.mel_rvq.onnx import NAME, mel_rvq_function
from muqrt.kernels.mel_rvq.torch import MelRvq
from muqrt.kernels.onnx_nodes import DOMAIN

from ..conftest import AssertNearest, mostly_full

Implementation = Callable[[np.ndarray, MelRvqTables, int], np.ndarray]

OPSET = 18
INPUTS = ("projection", "bias", "codebooks", "corrections")


@cache
def onnx_session(
    stages: int, codes: int, code_width: int, frames_per_step: int
) -> ort.InferenceSession:
    """One node whose inputs are all the graph's."""
    node = helper.make_node(
        NAME, ["log_mel", *INPUTS], ["tokens"], domain=DOMAIN, frames_per_step=frames_per_step
    )
    shapes = [3, 2, 1, 3, 3]
    values = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [f"{name}_{i}" for i in range(rank)])
        for name, rank in zip(("log_mel", *INPUTS), shapes, strict=True)
    ]
    tokens = helper.make_tensor_value_info("tokens", TensorProto.INT32, ["batch", stages, "steps"])
    opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid(DOMAIN, 1)]
    model = helper.make_model(
        helper.make_graph([node], "mel_rvq", values, [tokens]),
        opset_imports=opsets,
        functions=[mel_rvq_function(OPSET, stages, codes, code_width)],
        ir_version=8,
    )
    onnx.checker.check_model(model, full_check=True)
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    return ort.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )


def onnx_tokens(log_mel: np.ndarray, tables: MelRvqTables, frames_per_step: int) -> np.ndarray:
    session = onnx_session(*tables.codebooks.shape, frames_per_step)
    arrays = {name: getattr(tables, name) for name in INPUTS}
    (tokens,) = session.run(None, {"log_mel": log_mel, **arrays})
    return tokens


def torch_tokens(log_mel: np.ndarray, tables: MelRvqTables, frames_per_step: int) -> np.ndarray:
    return MelRvq(tables, frames_per_step)(torch.from_numpy(log_mel)).numpy()


def triton_tokens(log_mel: np.ndarray, tables: MelRvqTables, frames_per_step: int) -> np.ndarray:
    """By the fused kernel: compiled where there is a GPU, interpreted elsewhere."""
    mel_rvq_triton = pytest.importorskip("muqrt.kernels.mel_rvq.triton")
    device = "cuda" if torch.cuda.is_available() else "cpu"
    x, *rest = (torch.from_numpy(each).to(device) for each in (log_mel, *vars(tables).values()))
    return mel_rvq_triton.mel_rvq(x, rest, frames_per_step).cpu().numpy()


IMPLEMENTATIONS = {"onnx": onnx_tokens, "torch": torch_tokens, "triton": triton_tokens}


@pytest.fixture(scope="module", params=IMPLEMENTATIONS)
def implementation(request: pytest.FixtureRequest) -> Implementation:
    return IMPLEMENTATIONS[request.param]


def random_stages(
    stages: int = 8, codes: int = 1024, code_width: int = 16, width: int = 512, seed: int = 0
) -> list[Stage]:
    """Weights that keep the scale of what they are given."""
    rng = np.random.default_rng(seed)

    def weights(*shape: int) -> np.ndarray:
        return rng.normal(0, shape[-1] ** -0.5, shape).astype(np.float32)

    return [
        Stage(
            down=weights(code_width, width),
            down_bias=weights(code_width),
            codes=weights(codes, code_width) * rng.uniform(0.5, 3, (codes, 1)).astype(np.float32),
            up=weights(width, code_width),
            up_bias=weights(width),
        )
        for _ in range(stages)
    ]


def mels(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


@pytest.mark.parametrize("frames", mostly_full([4, 5, 7, 8, 103, 750], 4, 103))
def test_an_rvq_of_the_released_shape(
    implementation: Implementation, assert_nearest: AssertNearest, frames: int
) -> None:
    stages, log_mel = random_stages(), mels(1, 128, frames, seed=frames)
    tokens = implementation(log_mel, tables(stages), 4)
    assert_nearest(tokens, log_mel, stages, 4)


@pytest.mark.parametrize("batch", mostly_full(range(1, 8), 2, 7))
def test_rows_of_a_batch_do_not_mix(
    implementation: Implementation, assert_nearest: AssertNearest, batch: int
) -> None:
    stages = random_stages(3, 100, 8, 36)
    log_mel = mels(batch, 12, 31) * 10.0 ** np.arange(batch, dtype=np.float32)[:, None, None]
    tokens = implementation(log_mel, tables(stages), 3)
    assert_nearest(tokens, log_mel, stages, 3)
    rows = [implementation(row[None], tables(stages), 3) for row in log_mel]
    np.testing.assert_array_equal(tokens, np.concatenate(rows))


@given(
    batch=st.integers(1, 3),
    n_mels=st.integers(1, 9),
    frames_per_step=st.sampled_from([1, 2, 4, 5]),
    extra_frames=st.integers(0, 23),
    stages=st.integers(1, 5),
    codes=st.sampled_from([1, 2, 7, 30, 64, 97]),
    code_width=st.sampled_from([1, 3, 8, 16]),
    seed=st.integers(0, 99),
)
@settings(max_examples=25, deadline=None)
def test_any_shape(
    implementation: Implementation,
    assert_nearest: AssertNearest,
    batch: int,
    n_mels: int,
    frames_per_step: int,
    extra_frames: int,
    stages: int,
    codes: int,
    code_width: int,
    seed: int,
) -> None:
    rvq = random_stages(stages, codes, code_width, n_mels * frames_per_step, seed)
    log_mel = mels(batch, n_mels, frames_per_step + extra_frames, seed=seed)
    tokens = implementation(log_mel, tables(rvq), frames_per_step)
    assert_nearest(tokens, log_mel, rvq, frames_per_step)


@pytest.mark.parametrize("steps", mostly_full([15, 16, 17, 33], 15, 17))
@pytest.mark.parametrize(
    "sizes", [(3, 1000, 12, 15), (1, 129, 5, 70), (9, 7, 17, 33), (2, 99, 64, 1)]
)
def test_sizes_that_fit_no_block(
    implementation: Implementation, assert_nearest: AssertNearest, sizes: list[int], steps: int
) -> None:
    """Hidden states, each a step of its own."""
    stages, state = random_stages(*sizes), mels(1, sizes[-1], steps)
    assert_nearest(implementation(state, tables(stages), 1), state, stages, 1)


@pytest.mark.parametrize("codes", [6, 64, 1024])
def test_of_equal_codes_the_lowest_is_taken(implementation: Implementation, codes: int) -> None:
    """Every code is there twice. Everything is a multiple of 1/4, so no sum is rounded."""
    rng = np.random.default_rng(1)
    signs = rng.choice([-1.0, 1.0], (codes // 2, 16))
    twice = np.concatenate([signs, rng.permutation(signs)])
    down, up = rng.integers(-2, 3, (16, 12)), np.zeros((12, 16))
    once, both = (Stage(down, np.zeros(16), each, up, np.zeros(12)) for each in (signs, twice))
    log_mel = rng.integers(-3, 4, (2, 4, 120)).astype(np.float32)
    tokens = implementation(log_mel, tables([both]), 3)
    assert tokens.max() < codes // 2
    np.testing.assert_array_equal(tokens, implementation(log_mel, tables([once]), 3))


def test_nothing_at_all_gives_the_lowest_code(implementation: Implementation) -> None:
    (stage,) = random_stages(1, 64, 4, 12)
    unbiased = Stage(stage.down, np.zeros(4), stage.codes, stage.up, stage.up_bias)
    tokens = implementation(np.zeros((1, 4, 12), np.float32), tables([unbiased]), 3)
    np.testing.assert_array_equal(tokens, np.zeros((1, 1, 4)))


def test_frames_beyond_the_last_step_do_not_matter(implementation: Implementation) -> None:
    stages, log_mel = random_stages(4, 64, 8, 24), mels(2, 6, 23)
    other = log_mel.copy()
    other[:, :, 20:] = 1e3
    np.testing.assert_array_equal(
        implementation(log_mel, tables(stages), 4), implementation(other, tables(stages), 4)
    )


def test_every_stage_is_corrected_by_all_before_it(implementation: Implementation) -> None:
    """Without one of the corrections the tokens would be others: the tests above would see it."""
    stages, log_mel = random_stages(5, 64, 8, 24), mels(2, 6, 80)
    folded = tables(stages)
    expected = implementation(log_mel, folded, 4)
    for early in range(4):
        for late in range(early + 1, 5):
            changed = folded.corrections.copy()
            changed[early, :, late * 8 : (late + 1) * 8] = 0
            spoilt = MelRvqTables(folded.projection, folded.bias, folded.codebooks, changed)
            tokens = implementation(log_mel, spoilt, 4)
            np.testing.assert_array_equal(tokens[:, :late], expected[:, :late])
            assert (tokens[:, late] != expected[:, late]).any()


def test_the_oracle_sees_a_wrong_token(assert_nearest: AssertNearest) -> None:
    stages, log_mel = random_stages(3, 64, 8, 24), mels(2, 6, 23)
    tokens = onnx_tokens(log_mel, tables(stages), 4)
    tokens[1, 2, 4] = (tokens[1, 2, 4] + 1) % 64
    with pytest.raises(AssertionError):
        assert_nearest(tokens, log_mel, stages, 4)


def test_reconstructions_are_what_the_stages_subtract() -> None:
    stages = random_stages(3, 10, 4, 12)
    found = reconstructions(stages)
    assert (found.shape, found.dtype) == ((3, 10, 12), np.float32)
    for stage, ours in zip(stages, found, strict=True):
        for code, row in zip(stage.codes, ours, strict=True):
            np.testing.assert_allclose(row, stage.up @ code + stage.up_bias, atol=1e-5)


def test_corrections_are_for_later_stages_only() -> None:
    corrections = tables(random_stages(4, 10, 3, 12)).corrections.reshape(4, 10, 4, 3)
    earlier_or_own = np.tri(4, dtype=bool)
    for index, of_stage in enumerate(corrections.swapaxes(1, 2)):
        assert not of_stage[earlier_or_own[index]].any()
        assert of_stage[~earlier_or_own[index]].all()


def test_the_frames_of_a_step_are_an_attribute() -> None:
    nodes = mel_rvq_function(OPSET, 2, 4, 3).node
    references = {each.ref_attr_name for node in nodes for each in node.attribute}
    assert references == {"", "frames_per_step"}
