"""Only a tagger's head that is this checkpoint's gets into a bundle, and parity needs that one."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper

from muqrt.common.files import sha256
from muqrt.errors import CheckpointError
from muqrt.export.bundle_from_checkpoint import bundle_from_checkpoint
from muqrt.export.parity.excerpt import Excerpt
from muqrt.export.parity.gate import parity
from muqrt.export.parity.proof import Proof
from muqrt.export.sources.head import load_tag_head
from muqrt.reference.checkpoint import Checkpoint, load_checkpoint
from muqrt.reference.head import Head, load_head, pooled, save_head
from muqrt.runtime.bundle.manifest import load_bundle

Change = Callable[[Head], None]


@pytest.fixture(scope="session")
def checkpoint(tiny_checkpoint: Path) -> Checkpoint:
    return load_checkpoint(tiny_checkpoint)


@pytest.fixture
def changed(tiny_head: Path, tmp_path: Path) -> Callable[..., Path]:
    """Saves the tiny head with other settings, or another weight."""

    def change(weights: Change | None = None, **settings: Any) -> Path:
        original = load_head(tiny_head)
        config = replace(original.config, **settings)
        head = Head(config)
        if config.width == original.config.width and config.hidden == original.config.hidden:
            own = head.state_dict()
            kept = {k: v for k, v in original.state_dict().items() if v.shape == own[k].shape}
            head.load_state_dict(kept, strict=False)
        if weights is not None:
            with torch.no_grad():
                weights(head)
        save_head(head, tmp_path / "changed")
        return tmp_path / "changed"

    return change


def test_the_bundle_says_what_its_tags_are(tagged_bundle: Path, tiny_head: Path) -> None:
    bundle, config = load_bundle(tagged_bundle), load_head(tiny_head).config
    tagging = bundle.tagging
    assert tagging is not None
    assert (tagging.task, tagging.vocabulary) == (config.task, config.labels)
    assert (tagging.thresholds, tagging.window_seconds) == (config.thresholds, 2.0)
    assert tagging.figures == {"average precision": 0.5, "not measurable": None}
    artefact = bundle.artefact()
    assert [spec.name for spec in artefact.outputs] == ["features", "embedding", "tags"]
    assert artefact.outputs[-1].shape == ["batch", len(config.labels)]
    assert artefact.certificate is not None
    assert {each.output for each in artefact.certificate.measurements} >= {"tags"}


def test_a_head_without_thresholds_has_one_half(changed: Callable[..., Path]) -> None:
    tagging = load_tag_head(changed(thresholds=[])).record
    assert tagging.thresholds == [0.5] * len(tagging.vocabulary)


def test_the_hash_is_of_every_weight_and_setting(
    tiny_head: Path, changed: Callable[..., Path]
) -> None:
    def nudge(head: Head) -> None:
        head.output.bias[0] += 1e-6

    variants = [{}, {"weights": nudge}, {"task": "mood"}, {"thresholds": []}]
    digests = [load_tag_head(changed(**each)).record.head_sha256 for each in variants]
    assert digests[0] == load_tag_head(tiny_head).record.head_sha256
    assert len(set(digests)) == len(variants)


LABELS = [f"tag {index}" for index in range(6)]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"kind": "class"}, r"a head for 'tagging' \(class\)"),
        ({"kind": "regression"}, "regression"),
        ({"per_step": True}, "one answer for each step"),
        ({"labels": [*LABELS[:5], "tag 0"]}, "'tag 0' is in the vocabulary twice"),
        ({"labels": [*LABELS[:5], ""]}, r"vocabulary\.5"),
        ({"labels": [*LABELS[:5], "a\nb"]}, "cannot be printed"),
        ({"labels": [*LABELS[:5], "a" * 201]}, r"vocabulary\.5.*200"),
        ({"thresholds": [0.5] * 5 + [1.5]}, r"thresholds\.5"),
        ({"window_seconds": 0.5}, "window_seconds"),
        ({"figures": {"log": "a" * (1 << 16)}}, "figures of more than"),
    ],
)
def test_another_kind_of_head_is_refused(
    changed: Callable[..., Path], settings: dict[str, Any], message: str
) -> None:
    folder = changed(**settings)
    with pytest.raises(CheckpointError, match=message) as caught:
        load_tag_head(folder)
    assert str(folder) in str(caught.value)


def test_weights_that_cannot_be_used_are_refused(changed: Callable[..., Path]) -> None:
    with pytest.raises(CheckpointError, match="NaN or infinite weights"):
        load_tag_head(changed(lambda head: head.output.weight[0].fill_(float("nan"))))
    with pytest.raises(CheckpointError, match="a deviation that is not above 0"):
        load_tag_head(changed(lambda head: head.deviation[0, 3].fill_(0)))


@pytest.mark.parametrize(
    ("settings", "level", "message"),
    [
        ({"model_sha256": "1" * 64}, None, "trained on another checkpoint"),
        ({"width": 31, "model_sha256": ""}, None, "of width 31; .* are 32 wide"),
        ({"levels": [13]}, None, "reads level 13; .* levels 0 to 12"),
        ({}, 7, "reads level 8, beyond the exported level 7. Export with --level 8"),
    ],
)
def test_another_models_head_is_refused_before_anything_is_written(
    checkpoint: Checkpoint,
    changed: Callable[..., Path],
    tmp_path: Path,
    settings: dict[str, Any],
    level: int | None,
    message: str,
) -> None:
    head = load_tag_head(changed(**settings))
    with pytest.raises(CheckpointError, match=message):
        bundle_from_checkpoint(Proof(checkpoint, head=head), tmp_path / "bundle", level=level)
    assert not (tmp_path / "bundle").exists()


def test_a_head_that_names_no_model_fits_any(
    checkpoint: Checkpoint, changed: Callable[..., Path]
) -> None:
    load_tag_head(changed(model_sha256="")).check(checkpoint, 8)


def test_the_expected_tags_are_the_plain_heads(
    checkpoint: Checkpoint, tiny_head: Path, short_music: list[Excerpt]
) -> None:
    head = load_head(tiny_head)
    for excerpt in short_music:
        with torch.inference_mode():
            states = checkpoint.model(torch.from_numpy(excerpt.waveform)).hidden_states
            statistics = [pooled(states[level]) for level in head.config.levels]
            plain = head(torch.stack(statistics, dim=1)).sigmoid().numpy()
        expected = load_tag_head(tiny_head).expected([state.numpy() for state in states])
        np.testing.assert_allclose(expected, plain, atol=1e-5)
        assert expected.dtype == np.float32


def test_parity_needs_the_bundles_own_head(
    checkpoint: Checkpoint,
    tagged_bundle: Path,
    tiny_bundle: Path,
    tiny_head: Path,
    changed: Callable[..., Path],
    short_music: list[Excerpt],
) -> None:
    tagged, music = load_bundle(tagged_bundle), short_music[:1]
    with pytest.raises(CheckpointError, match="name the head's folder with --head"):
        parity(tagged, Proof(checkpoint, music=music))
    other = load_tag_head(changed(thresholds=[]))
    with pytest.raises(CheckpointError, match=r"not the head of .*, made with another"):
        parity(tagged, Proof(checkpoint, head=other, music=music))
    own = load_tag_head(tiny_head)
    with pytest.raises(CheckpointError, match=r"not the head of .*, made without one"):
        parity(load_bundle(tiny_bundle), Proof(checkpoint, head=own, music=music))
    parity(tagged, Proof(checkpoint, head=own, music=music))
    assert tagged.artefact().certified


@pytest.mark.parametrize(("change", "certified"), [(1e-6, True), (0.01, False)])
def test_a_change_in_the_tags_alone_fails_the_gate(
    checkpoint: Checkpoint,
    tagged_copy: Path,
    tiny_head: Path,
    short_music: list[Excerpt],
    change: float,
    certified: bool,
) -> None:
    model = onnx.load(tagged_copy / "muq.onnx")
    (bias,) = (w for w in model.graph.initializer if w.name == "head/output.bias")
    moved = numpy_helper.to_array(bias) + np.float32(change)
    bias.CopyFrom(numpy_helper.from_array(moved, bias.name))
    onnx.save(model, tagged_copy / "muq.onnx")
    bundle = load_bundle(tagged_copy)
    (artefact,) = bundle.artefacts
    artefact.files["muq.onnx"] = sha256(tagged_copy / "muq.onnx")
    parity(bundle, Proof(checkpoint, head=load_tag_head(tiny_head), music=short_music[:1]))
    assert artefact.certified == certified
