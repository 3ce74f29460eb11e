"""What the drop-in does not do, and bad input: one clear line each."""

import copy
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from muqrt.drop_in import MuQ, MuQConfig, MuQMuLan
from muqrt.errors import BundleError, CheckpointError, MuqrtError, SessionError, UsageError

ONE_SECOND = torch.zeros(1, 24_000)


@pytest.mark.parametrize(
    "call",
    [
        lambda muq: muq.train(),
        lambda muq: muq.requires_grad_(),
        lambda muq: muq.get_predictions(ONE_SECOND),
        lambda muq: muq.model.get_predictions(ONE_SECOND, is_features_only=True),
        lambda muq: muq.model.conformer.layers,
        lambda muq: muq.add_adapter("lora"),
        lambda muq: muq(ONE_SECOND.clone().requires_grad_()),
    ],
)
def test_training_is_refused(call: Callable[[MuQ], Any], model: MuQ) -> None:
    with pytest.raises(UsageError) as refusal:
        call(model)
    assert "muqrt train" in str(refusal.value) and "pip install muq" in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_the_towers_insides_are_refused(joint: MuQMuLan) -> None:
    for call in (
        lambda: joint.mulan_module.audio,
        lambda: joint.mulan.get_audio_latents(ONE_SECOND, return_all_layers=True),
        lambda: joint.train(),
    ):
        with pytest.raises(UsageError, match="muqrt train"):
            call()
    assert joint.frozen() is None


def test_no_gradients_are_asked_for_where_there_are_none(model: MuQ) -> None:
    with torch.no_grad():
        found = model(torch.randn(1, 24_000).requires_grad_())
    assert found.last_hidden_state.isfinite().all()


@pytest.mark.parametrize(
    ("x", "mask", "message"),
    [
        ("song.flac", None, "a tensor is needed"),
        (ONE_SECOND[0], None, r"\(batch, samples\) is needed"),
        (ONE_SECOND[None], None, r"\(batch, samples\) is needed"),
        (ONE_SECOND[:0], None, r"\(batch, samples\) is needed"),
        (ONE_SECOND.to(torch.int16), None, "floating-point"),
        (ONE_SECOND, torch.ones(2, 24_000), "1 for samples and 0 for padding"),
        (ONE_SECOND, [1, 0], "1 for samples and 0 for padding"),
        (ONE_SECOND, torch.zeros(1, 7), "at least for each of the 25 steps"),
    ],
)
def test_bad_input(model: MuQ, x: Any, mask: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        model(x, mask)


def test_rows_that_are_none(model: MuQ, tiny_bundle: Path) -> None:
    for each in (model, MuQ.from_pretrained(tiny_bundle, threads=1)):
        for mask in (None, torch.ones(1, 24_000)):
            with pytest.raises(UsageError, match='choose "masked" or "alone"'):
                each(ONE_SECOND, mask, rows="single")


def test_too_short(model: MuQ) -> None:
    with pytest.raises(SessionError, match="needs at least"):
        model(ONE_SECOND[:, :1_000])


def test_bad_music_and_texts(joint: MuQMuLan) -> None:
    for wrong in ({}, {"wavs": ONE_SECOND, "texts": "piano"}):
        with pytest.raises(UsageError, match="either wavs or texts"):
            joint(**wrong)
    for wavs in (ONE_SECOND[0], "song.flac", [], [ONE_SECOND]):
        with pytest.raises(UsageError, match="needed"):
            joint(wavs=wavs)
    for texts in ([], [3], ["piano", None]):
        with pytest.raises(UsageError):
            joint(texts=texts)


def test_no_weights_yet(model: MuQ) -> None:
    with pytest.raises(UsageError, match="load_state_dict"):
        MuQ(model.config)(ONE_SECOND)
    with pytest.raises(CheckpointError, match="fields no MuQ has: width"):
        MuQ({"width": 3})
    wrong = MuQ(MuQConfig(**{**vars(model.config), "encoder_depth": 2}))
    with pytest.raises(RuntimeError, match="unexpected: "):
        wrong.load_state_dict(model.state_dict())


@pytest.mark.parametrize(
    ("source", "error", "message"),
    [
        ("nowhere", CheckpointError, "no folder of a bundle or a checkpoint"),
        ("", CheckpointError, "config.json is missing|no folder|readable config.json"),
    ],
)
def test_no_source(
    source: str, error: type[MuqrtError], message: str, tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(error, match=message):
        MuQ.from_pretrained(source)


def test_a_precision_that_the_bundle_lacks(model: MuQ) -> None:
    for change in (model.half, model.bfloat16):
        with pytest.raises(BundleError, match=r"Build one: muqrt build .* --precision (fp|bf)16"):
            change()
        assert model.dtype == torch.float32
    with pytest.raises(BundleError, match="float32, float16 and bfloat16"):
        model.double()
    assert model(ONE_SECOND).last_hidden_state.dtype == torch.float32


def test_a_model_can_be_pickled_and_copied(model: MuQ, recording: Tensor) -> None:
    x = recording[None, :24_000]
    for again in (pickle.loads(pickle.dumps(model)), copy.deepcopy(model)):
        assert torch.equal(again(x).last_hidden_state, model(x).last_hidden_state)
