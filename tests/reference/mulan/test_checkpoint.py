"""The official layout: loaded strictly, saved whole, its encoders' configurations found."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from muqrt.errors import CheckpointError
from muqrt.reference.mulan.checkpoint import load_mulan, save_mulan
from muqrt.reference.mulan.model import MuLan

from ..conftest import assert_same, change_weights

MUQ, TEXT = "OpenMuQ/MuQ-large-msd-iter", "xlm-roberta-base"
WEIGHT = "mulan.text_to_latents.bias"
POSITIONAL = "mulan.audio.model.model.conformer.pos_conv_embed.conv"


@pytest.fixture
def folder(tiny_mulan: MuLan, tmp_path: Path) -> Path:
    """A good checkpoint, for a test to damage."""
    save_mulan(tiny_mulan, tmp_path / "checkpoint")
    return tmp_path / "checkpoint"


def refusal(source: str | Path) -> str:
    with pytest.raises(CheckpointError) as caught:
        load_mulan(source)
    return str(caught.value)


def change_config(path: Path, section: str | None, **fields: object) -> None:
    document = json.loads(path.read_text())
    (document[section] if section else document).update(fields)
    path.write_text(json.dumps(document))


def test_round_trip_is_bit_exact(tiny_mulan: MuLan, folder: Path) -> None:
    checkpoint = load_mulan(folder)
    assert_same(checkpoint.model, tiny_mulan)
    assert not checkpoint.model.training
    assert checkpoint.name == str(folder)
    assert checkpoint.tokenizer is None
    assert checkpoint.parameters == sum(p.numel() for p in tiny_mulan.parameters())


def test_the_official_checkpoint_survives_a_round_trip(golden: Path, tmp_path: Path) -> None:
    official = load_mulan(golden / "mulan_projected")
    save_mulan(official.model, tmp_path / "again", official.tokenizer)
    again = load_mulan(tmp_path / "again")
    assert_same(again.model, official.model)
    assert again.tokenizer is not None and official.tokenizer is not None
    assert again.tokenizer.read_bytes() == official.tokenizer.read_bytes()
    written = json.loads((tmp_path / "again" / "config.json").read_text())
    document = json.loads((golden / "mulan_projected" / "config.json").read_text())
    del document["hf_hub_cache_dir"]  # of whoever saved it
    assert written == document


def test_weights_of_torch_with_a_leftover_of_older_versions(
    tiny_mulan: MuLan, folder: Path
) -> None:
    positions = torch.arange(514)[None]
    state = tiny_mulan.state_dict() | {"mulan.text.model.embeddings.position_ids": positions}
    for old, new in (("weight_g", "original0"), ("weight_v", "original1")):
        state[f"{POSITIONAL}.{old}"] = state.pop(f"{POSITIONAL}.parametrizations.weight.{new}")
    (folder / "model.safetensors").unlink()
    torch.save(state, folder / "pytorch_model.bin")
    assert_same(load_mulan(folder).model, tiny_mulan)


def test_code_in_a_pickle_is_refused(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    torch.save({"weights": Path("/")}, folder / "pytorch_model.bin")
    assert "pytorch_model.bin: cannot be read with weights_only" in refusal(folder)


def test_the_hash_follows_weights_and_every_config(folder: Path) -> None:
    hashes = [load_mulan(folder).sha256]
    change_config(folder / "config.json", "mulan", rank_contrast=False)
    hashes.append(load_mulan(folder).sha256)
    change_config(folder / MUQ / "config.json", None, mask_prob=0.5)
    hashes.append(load_mulan(folder).sha256)
    change_config(folder / TEXT / "config.json", None, hidden_dropout_prob=0.2)
    hashes.append(load_mulan(folder).sha256)
    change_weights(folder, lambda state: state[WEIGHT].zero_())
    hashes.append(load_mulan(folder).sha256)
    assert len(set(hashes)) == 5


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda state: state.pop(WEIGHT), f"missing: {WEIGHT}"),
        (lambda state: state.update(extra=torch.zeros(1)), "unexpected: extra"),
        (
            lambda state: state.update({WEIGHT: torch.zeros(7)}),
            f"{WEIGHT} is (7,), expected (512,)",
        ),
        (lambda state: state[WEIGHT].fill_(float("nan")), f"NaN or infinite weights in {WEIGHT}"),
    ],
    ids=["missing", "unexpected", "shape", "nan"],
)
def test_wrong_weights(folder: Path, change: Callable, expected: str) -> None:
    change_weights(folder, change)
    assert expected in refusal(folder)


@pytest.mark.parametrize(
    ("section", "fields", "expected"),
    [
        ("mulan", {"sr": 48_000}, "sr is 24000"),
        ("mulan", {"clip_secs": 0}, "mulan.clip_secs: Input should be greater than 0"),
        ("mulan", {"dim_latent": "512"}, "mulan.dim_latent: Input should be a valid integer"),
        (
            "mulan",
            {"hierarchical_contrastive_loss": True},
            "hierarchical_contrastive_loss is false",
        ),
        ("mulan", {"sigmoid_contrastive_loss": True}, "sigmoid_contrastive_loss is false"),
        ("audio_model", {"model_dim": None}, "audio_model.model_dim is given"),
        ("audio_model", {"model_dim": 64}, "is 32 wide, model_dim says 64"),
        ("audio_transformer", {"dept": 3}, "audio_transformer.dept: Unexpected"),
        ("text_transformer", {"dim": None}, "text_transformer.dim: Input should be"),
        (None, {"mulan": 7}, "mulan: Input should be an object"),
    ],
)
def test_wrong_config(
    folder: Path, section: str | None, fields: dict[str, object], expected: str
) -> None:
    change_config(folder / "config.json", section, **fields)
    message = refusal(folder)
    assert expected in message
    assert str(folder) in message


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"model_type": "bert"}, "model_type: Input should be 'xlm-roberta'"),
        ({"hidden_act": "relu"}, "hidden_act: Input should be 'gelu'"),
        ({"num_attention_heads": 5}, "hidden_size 16 does not divide into 5 heads"),
        ({"max_position_embeddings": 3}, "3 positions are too few"),
        ({"vocab_size": 2}, "a vocabulary of 2 and 514 positions are too few"),
        ({"pad_token_id": 0}, "pad_token_id: Input should be 1"),
    ],
)
def test_wrong_text_encoder(folder: Path, fields: dict[str, object], expected: str) -> None:
    change_config(folder / TEXT / "config.json", None, **fields)
    message = refusal(folder)
    assert expected in message
    assert TEXT in message


def test_missing_files(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    assert "model.safetensors or pytorch_model.bin is missing" in refusal(folder)
    (folder / "config.json").unlink()
    assert "config.json: not a readable config.json" in refusal(folder)


@pytest.mark.parametrize("text", ["", "[]", "\x00", '{"a": }'])
def test_config_that_is_no_object(folder: Path, text: str) -> None:
    (folder / "config.json").write_text(text)
    assert "config.json: " in refusal(folder)


@pytest.mark.parametrize("source", ["/nowhere/at/all", "nowhere", ""])
def test_nothing_there(source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert f"{source}: " in refusal(source)


def test_encoders_elsewhere(
    tiny_mulan: MuLan, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A hub id for everything: each repository is fetched under its own name."""
    hub = tmp_path / "hub"
    for name in (MUQ, TEXT):
        shutil.move(folder / name, hub / name)
    shutil.move(folder, hub / "OpenMuQ/some-mulan")
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda name, **_: str(hub / name))
    checkpoint = load_mulan("OpenMuQ/some-mulan")
    assert checkpoint.name == "OpenMuQ/some-mulan"
    assert_same(checkpoint.model, tiny_mulan)


def test_an_encoder_that_cannot_be_fetched(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    shutil.rmtree(folder / TEXT)
    message = refusal(folder)
    assert f"config.json is needed in {folder / TEXT}" in message


def test_saving_replaces_only_a_checkpoint(tiny_mulan: MuLan, folder: Path) -> None:
    save_mulan(tiny_mulan, folder)
    (folder / "notes.txt").touch()
    with pytest.raises(CheckpointError, match="holds other files too"):
        save_mulan(tiny_mulan, folder)


@pytest.mark.parametrize("name", ["/elsewhere/muq", "../muq", "", "config.json"])
def test_an_encoder_is_never_written_elsewhere(name: str, folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder / MUQ, tmp_path / "inside" / "muq")
    model = load_mulan(folder).model
    object.__setattr__(model.config.audio_model, "name", name)
    with pytest.raises(CheckpointError, match="would not be written into"):
        save_mulan(model, tmp_path / "out")
    assert not (tmp_path / "out").exists()
