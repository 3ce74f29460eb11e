"""Loading is strict, says what is wrong and where, and runs no code of a file's."""

import dataclasses
import json
import resource
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from muqrt.errors import CheckpointError
from muqrt.reference.checkpoint import load_checkpoint, save_checkpoint
from muqrt.reference.muq import MuQ
from muqrt.reference.random_model import TINY, random_model

from .conftest import assert_same, change_weights

POSITIONAL = "model.conformer.pos_conv_embed.conv"
NEW_TO_OLD = {
    f"{POSITIONAL}.parametrizations.weight.original0": f"{POSITIONAL}.weight_g",
    f"{POSITIONAL}.parametrizations.weight.original1": f"{POSITIONAL}.weight_v",
}


@pytest.fixture
def folder(tiny: MuQ, tmp_path: Path) -> Path:
    """A good checkpoint, for a test to damage."""
    save_checkpoint(tiny, tmp_path / "checkpoint")
    return tmp_path / "checkpoint"


def refusal(source: str | Path) -> str:
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(source)
    assert caught.value.exit_code == 3
    return str(caught.value)


def change_config(folder: Path, **fields: object) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **fields}))


def test_round_trip_is_bit_exact(tiny: MuQ, folder: Path) -> None:
    checkpoint = load_checkpoint(folder)
    assert_same(checkpoint.model, tiny)
    assert not checkpoint.model.training
    assert checkpoint.name == str(folder)
    assert checkpoint.parameters == sum(p.numel() for p in tiny.parameters())


def test_the_official_checkpoint_survives_a_round_trip(golden: Path, tmp_path: Path) -> None:
    official = load_checkpoint(golden / "label_rate_50").model
    save_checkpoint(official, tmp_path / "again")
    assert_same(load_checkpoint(tmp_path / "again").model, official)
    config = json.loads((golden / "label_rate_50" / "config.json").read_text())
    assert json.loads((tmp_path / "again" / "config.json").read_text()) == config


def test_others_may_read_it_as_the_users_other_files(folder: Path) -> None:
    modes = {path.name: path.stat().st_mode for path in folder.iterdir()}
    assert len(modes) == 2 and len(set(modes.values())) == 1


def test_the_hash_follows_weights_and_config(folder: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(folder, tmp_path / "copy")
    assert load_checkpoint(copy).sha256 == load_checkpoint(folder).sha256
    change_config(copy, mask_prob=0.5)
    other_config = load_checkpoint(copy).sha256
    change_weights(copy, lambda state: state["model.cls_token"].zero_())
    hashes = {load_checkpoint(folder).sha256, other_config, load_checkpoint(copy).sha256}
    assert len(hashes) == 3


def test_a_failed_save_leaves_the_old_checkpoint(
    tiny: MuQ, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("muqrt.reference.stored.save_file", fail)
    with pytest.raises(OSError, match="disk full"):
        save_checkpoint(tiny, folder)
    assert_same(load_checkpoint(folder).model, tiny)
    assert [path.name for path in folder.parent.iterdir()] == ["checkpoint"]


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_file_with_config_beside(tiny: MuQ, folder: Path, tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"weights{suffix}"
    save = torch.save if suffix == ".pt" else save_file
    save(tiny.state_dict(), path)
    assert "config.json beside it" in refusal(path)
    shutil.copy(folder / "config.json", tmp_path)
    assert_same(load_checkpoint(path).model, tiny)


@pytest.mark.parametrize("key", ["model", "state_dict"])
def test_torch_file_with_config_inside(tiny: MuQ, tmp_path: Path, key: str) -> None:
    config = dataclasses.asdict(tiny.config)
    torch.save({key: tiny.state_dict(), "config": config, "epoch": 3}, tmp_path / "a.pt")
    assert_same(load_checkpoint(tmp_path / "a.pt").model, tiny)


def test_old_names_of_weight_norm(tiny: MuQ, folder: Path) -> None:
    def rename(state: dict[str, Tensor]) -> None:
        for new, old in NEW_TO_OLD.items():
            state[old] = state.pop(new)

    change_weights(folder, rename)
    assert_same(load_checkpoint(folder).model, tiny)


def test_half_precision_weights_are_computed_in_single(folder: Path) -> None:
    change_weights(folder, lambda state: state.update({k: v.half() for k, v in state.items()}))
    assert {p.dtype for p in load_checkpoint(folder).model.parameters()} == {torch.float32}


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda state: state.pop("model.cls_token"), "missing: model.cls_token"),
        (lambda state: state.update(extra=torch.zeros(1)), "unexpected: extra"),
        (
            lambda state: state.update({"model.cls_token": torch.zeros(7)}),
            r"wrong shape: model.cls_token is (7,), expected (32,)",
        ),
        (
            lambda state: state["model.linear.bias"].fill_(float("nan")),
            "NaN or infinite weights in model.linear.bias",
        ),
        (
            lambda state: state["model.conv.conv.0.bn1.running_var"].fill_(float("inf")),
            "NaN or infinite weights in model.conv.conv.0.bn1.running_var",
        ),
        (lambda state: state.clear(), "and 520 more"),
    ],
    ids=["missing", "unexpected", "shape", "nan", "infinite", "empty"],
)
def test_wrong_weights(folder: Path, change: Callable, expected: str) -> None:
    change_weights(folder, change)
    message = refusal(folder)
    assert expected in message
    assert str(folder) in message


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_missing_file(folder: Path, name: str) -> None:
    (folder / name).unlink()
    message = refusal(folder)
    assert name in message and " is missing from this checkpoint" in message


def test_a_folder_with_torchs_weights(tiny: MuQ, folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    torch.save(tiny.state_dict(), folder / "pytorch_model.bin")
    assert_same(load_checkpoint(folder).model, tiny)
    torch.save({"weights": Path("/")}, folder / "pytorch_model.bin")
    assert "pytorch_model.bin: cannot be read with weights_only" in refusal(folder)


def test_new_names_of_weight_norm_in_the_rvq(tiny: MuQ, folder: Path) -> None:
    def rename(state: dict[str, Tensor]) -> None:
        for name in [name for name in state if ".rvq." in name]:
            for old, new in (("weight_g", "original0"), ("weight_v", "original1")):
                if name.endswith(old):
                    renamed = name.removesuffix(old) + f"parametrizations.weight.{new}"
                    state[renamed] = state.pop(name)

    change_weights(folder, rename)
    assert_same(load_checkpoint(folder).model, tiny)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"encoder_depth": 10**9}, "encoder_depth is 1000000000; there are "),
        ({"rvq_n_codebooks": 10**9}, "rvq_n_codebooks is 1000000000"),
        ({"rvq_multi_layer_num": 10**9}, "rvq_multi_layer_num is 1000000000"),
        ({"codebook_size": 10**12}, "codebook_size is 1000000000000; the largest weight has"),
        ({"conv_dim": 10**9}, "conv_dim is 1000000000; the largest weight has"),
        ({"conv_dim": 10**400}, "conv_dim is 1000"),
        ({"encoder_dim": 2**60}, "encoder_dim is 1152921504606846976"),
        ({"w2v2_config": {"intermediate_size": 10**15}}, "intermediate_size is 1000000000000000"),
        ({"conv_dim": 60_000}, "wrong shape: model.conv.conv.0"),
    ],
)
def test_a_config_that_lies_about_sizes(
    folder: Path, fields: dict[str, object], expected: str
) -> None:
    """Refused before anything of that size is made."""
    if "w2v2_config" in fields:
        own = json.loads((folder / "config.json").read_text())["w2v2_config"]
        fields = {"w2v2_config": {**own, **fields["w2v2_config"]}}
    change_config(folder, **fields)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert expected in refusal(folder)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000  # KB


@pytest.mark.parametrize("levels", [40, 900, 100_000])
def test_a_config_that_is_nested_deeply(folder: Path, tmp_path: Path, levels: int) -> None:
    nested = "[" * levels + "]" * levels
    (folder / "config.json").write_text('{"w2v2_config": {"a": ' + nested + "}}")
    assert "nested deeper than 32 levels" in refusal(folder)
    shared: object = []
    for _ in range(30):
        shared = [shared, shared]  # 2 ** 30 values as JSON
    torch.save({"model": {}, "config": {"stat": shared}}, tmp_path / "shared.pt")
    assert "more than 1000000 values" in refusal(tmp_path / "shared.pt")


def test_a_config_without_end(folder: Path) -> None:
    (folder / "config.json").write_text(" " * 2_000_000 + "{}")
    assert "longer than 1.05 MB" in refusal(folder)


def test_weights_that_lie_about_their_size(tiny: MuQ, folder: Path, tmp_path: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    state = {**tiny.state_dict(), "model.cls_token": torch.zeros(1).expand(10**12)}
    torch.save({"model": state, "config": config}, tmp_path / "lie.pt")
    assert "model.cls_token has fewer values than its shape says" in refusal(tmp_path / "lie.pt")
    torch.save({"model": tiny.state_dict(), "config": config}, tmp_path / "plain.pt")
    with (
        zipfile.ZipFile(tmp_path / "plain.pt") as plain,
        zipfile.ZipFile(tmp_path / "packed.pt", "w", zipfile.ZIP_DEFLATED) as packed,
    ):
        for name in plain.namelist():
            packed.writestr(name, plain.read(name))
    assert "its content is compressed" in refusal(tmp_path / "packed.pt")


def test_weights_of_another_type(folder: Path) -> None:
    change_weights(folder, lambda state: state.update({"model.cls_token": torch.zeros(32).int()}))
    assert "model.cls_token is torch.int32, expected torch.float32" in refusal(folder)


@pytest.mark.parametrize("content", [b"", b"not safetensors", b"\xff" * 100])
def test_corrupt_safetensors(folder: Path, content: bytes) -> None:
    (folder / "model.safetensors").write_bytes(content)
    assert "model.safetensors: not a readable safetensors file" in refusal(folder)


def test_truncated_safetensors(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    assert "model.safetensors: not a readable safetensors file" in refusal(folder)


@pytest.mark.parametrize("kept", [0.0, 0.01, 0.5, 0.999])
def test_truncated_torch_file(tiny: MuQ, tmp_path: Path, kept: float) -> None:
    path = tmp_path / "cut.pt"
    torch.save({"model": tiny.state_dict(), "config": dataclasses.asdict(tiny.config)}, path)
    content = path.read_bytes()
    path.write_bytes(content[: int(kept * len(content))])
    assert "cut.pt: cannot be read" in refusal(path)


class Payload:
    """Pickled, an order to create a file."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple:
        return Path.touch, (self.trace,)


@pytest.mark.parametrize("legacy", [False, True])
def test_code_in_a_pickle_is_refused_and_not_run(tiny: MuQ, tmp_path: Path, legacy: bool) -> None:
    trace, path = tmp_path / "it ran", tmp_path / "evil.pt"
    document = {"model": tiny.state_dict(), "config": Payload(trace)}
    torch.save(document, path, _use_new_zipfile_serialization=not legacy)
    assert "evil.pt: cannot be read with weights_only" in refusal(path)
    assert not trace.exists()
    torch.load(path, weights_only=False)  # what was refused does run
    assert trace.exists()


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        ([1, 2], "expected a state dict, found list"),
        ({"model": [1], "config": {}}, "expected a state dict of tensors"),
        ({"model": {1: torch.zeros(1)}, "config": {}}, "expected a state dict of tensors"),
        ({"model": {}, "config": 7}, "config: expected an object"),
        ({"model": {}, "config": {"stat": torch.zeros(1)}}, "config: holds what JSON cannot"),
    ],
)
def test_torch_file_of_something_else(tmp_path: Path, document: object, expected: str) -> None:
    torch.save(document, tmp_path / "other.pt")
    assert expected in refusal(tmp_path / "other.pt")


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"n_layers": 3}, "fields no MuQ has: n_layers"),
        ({"encoder_dim": "32"}, "encoder_dim: Input should be a valid integer"),
        ({"encoder_dim": 32.0}, "encoder_dim: Input should be a valid integer"),
        ({"conv_dim": -8}, "conv_dim: Input should be greater than 0"),
        ({"stat": None}, "stat: Input should be"),
        ({"stat": {"melspec_2048_mean": 0.0, "melspec_2048_std": 0.0}}, "positive melspec"),
        ({"w2v2_config": {"num_attention_heads": 0}}, "num_attention_heads: Input should be"),
        ({"w2v2_config": {"num_attention_heads": 3}}, "a multiple of 2 * num_attention_heads"),
        ({"w2v2_config": {"conv_depthwise_kernel_size": 4}}, "conv_depthwise_kernel_size is odd"),
        ({"w2v2_config": {"position_embeddings_type": "relative"}}, "is 'rotary'"),
        ({"w2v2_config": None}, "w2v2_config: Input should be an object"),
        ({"label_rate": 75}, "label_rate is 25 or 50"),
        ({"is_flash": True}, "is_flash is false"),
        ({"use_encodec_target": True}, "use_encodec_target is false"),
    ],
)
def test_wrong_config(folder: Path, fields: dict[str, object], expected: str) -> None:
    change_config(folder, **fields)
    message = refusal(folder)
    assert expected in message
    assert "config.json: " in message


@pytest.mark.parametrize("text", ["", "{", "[]", "\x00", '{"a": }'])
def test_config_that_is_no_object(folder: Path, text: str) -> None:
    (folder / "config.json").write_text(text)
    assert "config.json: " in refusal(folder)


def test_weights_of_another_config(folder: Path) -> None:
    change_config(folder, encoder_depth=11, conv_dim=16)
    message = refusal(folder)
    assert "unexpected: model.conformer.layers.11." in message
    assert "wrong shape: model.conv.conv.0" in message


@pytest.mark.parametrize("source", ["/nowhere/at/all", "nowhere", "a/b/c.pt", ""])
def test_nothing_there(source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert source in refusal(source)


def test_hub_id(tiny: MuQ, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda *_, **__: str(folder))
    checkpoint = load_checkpoint("OpenMuQ/some-muq")
    assert checkpoint.name == "OpenMuQ/some-muq"
    assert_same(checkpoint.model, tiny)


@pytest.mark.parametrize("hub_id", ["OpenMuQ/some-muq", "no/such--name"])
def test_hub_without_network(hub_id: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    message = refusal(hub_id)
    assert f"{hub_id}: cannot be fetched from the hub" in message
    assert "give its folder" in message


def test_half_the_space_rounds_parameters_only(tmp_path: Path) -> None:
    model = random_model(TINY)
    save_checkpoint(model, tmp_path / "whole")
    save_checkpoint(model, tmp_path / "half", half=True)
    sizes = [(tmp_path / name / "model.safetensors").stat().st_size for name in ("whole", "half")]
    assert sizes[1] < 0.6 * sizes[0]
    loaded = load_checkpoint(tmp_path / "half").model
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(
            loaded.get_parameter(name), parameter, rtol=5e-4, atol=3e-8, msg=name
        )
    for name, buffer in model.named_buffers():
        assert torch.equal(loaded.get_buffer(name), buffer), name
    assert not torch.equal(loaded.model.linear.weight, model.model.linear.weight)
