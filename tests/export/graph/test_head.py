"""The folded head is the plain one, whatever its shape."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch

from muqrt.errors import CheckpointError, UsageError
from muqrt.export.engines.pytorch import _head_design
from muqrt.export.graph.folding import linear
from muqrt.export.graph.head import for_levels, tags
from muqrt.export.graph.writer import Graph
from muqrt.export.onnx_from_checkpoint import TARGETS, onnx_from_checkpoint
from muqrt.export.parity.excerpt import Excerpt
from muqrt.export.sources.head import TagHead
from muqrt.export.sources.sources import Sources
from muqrt.reference.head import Head, HeadConfig
from muqrt.reference.muq import MuQ
from muqrt.runtime.bundle.certificate import THRESHOLDS
from muqrt.runtime.bundle.record import TensorSpec
from muqrt.runtime.bundle.tagging import Tagging
from muqrt.runtime.engines.pytorch.model import TorchTagHead

TAG_CHANGE = THRESHOLDS["fp32"].largest_tag_change


def random_head(
    levels: list[int],
    hidden: int,
    labels: int,
    width: int,
    seed: int = 0,
    groups: Sequence[slice] = (),
) -> Head:
    """Every part of it away from its initial value, and sharp enough for scores of 0 to 1."""
    config = HeadConfig(
        task="tagging",
        kind="multilabel",
        labels=[f"tag {index}" for index in range(labels)],
        levels=levels,
        width=width,
        hidden=hidden,
        groups=[[f"tag {index}" for index in range(labels)][each] for each in groups],
    )
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        head = Head(config).eval()
        head.level_weights.normal_(0, 2)
        head.mean.normal_(0, 3)
        head.deviation.uniform_(0.5, 2)
        head.output.weight *= 8
    return head


def sources(head: Head) -> Sources:
    config = head.config
    tagging = Tagging(
        task=config.task,
        vocabulary=config.labels,
        thresholds=[0.5] * len(config.labels),
        groups=config.groups,
        window_seconds=config.window_seconds,
        head_sha256="0" * 64,
    )
    return Sources(TagHead("random", head, tagging))


def naive(head: Head, states: list[np.ndarray]) -> np.ndarray:
    """The definition, in float64."""
    exact = [states[level].astype(np.float64) for level in head.config.levels]
    statistics = [np.concatenate([x.mean(1), np.sqrt(x.var(1) + 1e-6)], 1) for x in exact]
    with torch.inference_mode():
        logits = head.double()(torch.from_numpy(np.stack(statistics, 1))).numpy()
    head.float()
    odds = np.exp(logits)
    answer = odds / (1 + odds)
    for group in head.config.groups:
        columns = [head.config.labels.index(label) for label in group]
        answer[:, columns] = odds[:, columns] / (1 + odds[:, columns].sum(1, keepdims=True))
    return answer


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize(
    ("levels", "hidden", "labels", "groups"),
    [
        ([2], 0, 1, []),
        ([0], 5, 3, [slice(0, 3)]),
        ([1, 3], 0, 7, [slice(1, 3), slice(4, 7)]),
        ([3, 0, 2], 11, 4, [slice(0, 2), slice(2, 4)]),
        ([2, 2], 1, 2, []),
    ],
)
def test_the_folded_head_is_the_plain_one(
    levels: list[int], hidden: int, labels: int, groups: list[slice], batch: int
) -> None:
    width, depth, steps = 13, 4, 17
    head = random_head(levels, hidden, labels, width, groups=groups)
    random = np.random.default_rng(1)
    states = [random.normal(1, 3, (batch, steps, width)).astype(np.float32) for _ in range(depth)]
    graph = Graph()
    names = [f"state_{level}" for level in range(depth)]
    graph.rename(tags(graph, head, names), "tags")
    model = graph.model(
        [TensorSpec(name=each, dtype="float32", shape=["batch", "steps", width]) for each in names],
        [TensorSpec(name="tags", dtype="float32", shape=["batch", labels])],
    )
    onnx.checker.check_model(model, full_check=True)
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    (ours,) = session.run(["tags"], dict(zip(names, states, strict=True)))
    assert (ours.shape, ours.dtype) == ((batch, labels), np.float32)
    np.testing.assert_allclose(ours, naive(head, states), atol=2e-6)
    reference = sources(head).head.expected(states)
    np.testing.assert_allclose(reference, naive(head, states), atol=2e-6)


def test_pytorch_answers_groups_as_the_definition_does() -> None:
    head = random_head([1, 2], 0, 6, 5, groups=[slice(1, 4), slice(4, 6)])
    deployed = TorchTagHead(_head_design(head), 5)
    matrix, bias = linear(head.output)
    deployed.load_state_dict(
        {
            "mean": head.mean.reshape(-1),
            "output.weight": torch.from_numpy(for_levels(head, matrix).T),
            "output.bias": torch.from_numpy(bias),
        }
    )
    random = np.random.default_rng(2)
    states = [random.normal(1, 3, (2, 9, 5)).astype(np.float32) for _ in range(3)]
    with torch.inference_mode():
        found = deployed([torch.from_numpy(each) for each in states]).numpy()
    np.testing.assert_allclose(found, naive(head, states), atol=2e-6)
    assert (found[:, 1:4].sum(1) < 1).all()


@pytest.mark.parametrize("groups", [[["tag 0"]], [["tag 0", "tag 2"]], [["tag 1", "other"]]])
def test_groups_are_runs_of_labels(groups: list[list[str]]) -> None:
    config = random_head([0], 0, 3, 4).config
    with pytest.raises(CheckpointError, match=r"groups .* are not runs of the labels"):
        replace(config, groups=groups)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize(("levels", "level"), [([0, 5, 12], None), ([2], 4), ([4, 1], 4)])
def test_tags_of_music_are_the_references(
    tiny: MuQ, short_music: list[Excerpt], target: str, levels: list[int], level: int | None
) -> None:
    head = random_head(levels, 6, 5, tiny.config.encoder_dim)
    model = onnx_from_checkpoint(tiny, ["features", "tags"], level, target, sources(head))
    onnx.checker.check_model(model, full_check=True)
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    answers = []
    for excerpt in short_music:
        (ours,) = session.run(["tags"], {"waveform": excerpt.waveform})
        with torch.inference_mode():
            states = tiny(torch.from_numpy(excerpt.waveform)).hidden_states
        np.testing.assert_allclose(
            ours, naive(head, [state.numpy() for state in states]), atol=TAG_CHANGE
        )
        answers.append(ours)
    assert np.ptp(np.concatenate(answers)) > 0.5


def test_only_the_levels_it_needs_are_pooled(tiny: MuQ) -> None:
    head = random_head([3, 7], 0, 2, tiny.config.encoder_dim)
    model = onnx_from_checkpoint(tiny, ["tags"], 9, "cpu", sources(head))
    # A mean and a variance for each of the two.
    assert [node.op_type for node in model.graph.node].count("ReduceMean") == 4


def test_there_are_no_tags_without_a_head(tiny: MuQ) -> None:
    with pytest.raises(UsageError, match=r"outputs \['tags'\]: choose among"):
        onnx_from_checkpoint(tiny, ["features", "tags"])
