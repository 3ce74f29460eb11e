from collections.abc import Callable

import numpy as np
import onnx
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from muqrt.export.graph.mulan.towers import mulan_text_graph
from muqrt.reference.mulan.model import MuLan

Same = Callable[..., None]
Tower = Callable[..., np.ndarray]
Run = Callable[[onnx.ModelProto], Tower]

PADDING = 1


@pytest.fixture(scope="module")
def tiny_tower(tiny_mulan: MuLan, runner: Run) -> Tower:
    return runner(mulan_text_graph(tiny_mulan))


@pytest.fixture(scope="module")
def golden_tower(golden_mulan: MuLan, runner: Run) -> Tower:
    return runner(mulan_text_graph(golden_mulan))


def texts(lengths: list[int], seed: int = 0, vocabulary: int = 256) -> dict[str, np.ndarray]:
    """Random texts of so many tokens each, as a tokenizer would pad them."""
    rng = np.random.default_rng(seed)
    mask = (np.arange(max(lengths)) < np.array(lengths)[:, None]).astype(np.int64)
    ids = np.where(mask, rng.integers(3, vocabulary, mask.shape), PADDING)
    return {"ids": ids, "mask": mask}


def reference(model: MuLan, ids: np.ndarray, mask: np.ndarray) -> np.ndarray:
    with torch.inference_mode():
        return model.text_latents(torch.from_numpy(ids), torch.from_numpy(mask)).numpy()


@given(lengths=st.lists(st.integers(2, 23), min_size=1, max_size=3), seed=st.integers(0, 99))
@settings(max_examples=15, deadline=None)
def test_any_batch_and_length(
    golden_mulan: MuLan, golden_tower: Tower, assert_same: Same, lengths: list[int], seed: int
) -> None:
    batch = texts(lengths, seed)
    assert_same(golden_tower(**batch), reference(golden_mulan, **batch))


@pytest.mark.parametrize("lengths", [[3], [300], [512], [2, 300, 17]])
def test_short_and_long_texts(
    tiny_mulan: MuLan, tiny_tower: Tower, assert_same: Same, lengths: list[int]
) -> None:
    batch = texts(lengths, vocabulary=400)
    assert_same(tiny_tower(**batch), reference(tiny_mulan, **batch))


def test_a_text_is_the_same_in_every_batch(tiny_tower: Tower, assert_same: Same) -> None:
    lengths = [3, 11, 2]
    batch = texts(lengths)
    together = tiny_tower(**batch)
    for row, length in enumerate(lengths):
        alone = {name: values[row : row + 1, :length] for name, values in batch.items()}
        assert_same(tiny_tower(**alone), together[row : row + 1])
    everything = tiny_tower(ids=batch["ids"], mask=np.ones_like(batch["mask"]))
    assert np.abs(everything[0] - together[0]).max() > 1e-3  # padding that counts would show


def test_the_mask_alone_says_what_counts(
    tiny_mulan: MuLan, tiny_tower: Tower, assert_same: Same
) -> None:
    """And the ids alone, where positions are: neither has to agree with the other."""
    batch = texts([9, 9])
    batch["mask"][0, 4:6] = 0
    batch["ids"][1, 3] = PADDING
    assert_same(tiny_tower(**batch), reference(tiny_mulan, **batch))


def test_the_graph_is_restructured(tiny_mulan: MuLan) -> None:
    model = mulan_text_graph(tiny_mulan)
    assert [each.domain for each in model.opset_import] == [""]
    shapes = {each.name: tuple(each.dims) for each in model.graph.initializer}
    assert shapes["text/xlm_roberta/layer_1/attention/query_key_value.weight"] == (16, 48)
    assert shapes["text/transformer/layer_1/attention/to_q_k_v.weight"] == (24, 48)
    products = sum(node.op_type == "MatMul" for node in model.graph.node)
    assert products == 2 * 6 + 1 + 2 * 6 + 1  # layers, proj, layers, latents


def test_the_same_model_gives_the_same_bytes(tiny_mulan: MuLan) -> None:
    first, second = (mulan_text_graph(tiny_mulan).SerializeToString() for _ in range(2))
    assert first == second
