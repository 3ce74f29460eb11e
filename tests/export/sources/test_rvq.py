"""Tokens from the graph are the reference's and the official package's, whichever the RVQ."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch

from muqrt.errors import CheckpointError
from muqrt.export.onnx_from_checkpoint import onnx_from_checkpoint
from muqrt.export.outputs.measuring import equal_tokens
from muqrt.export.parity.excerpt import Excerpt
from muqrt.export.sources.rvq import TokenRvq, load_token_rvq, own_rvq
from muqrt.export.sources.sources import Sources
from muqrt.reference.checkpoint import Checkpoint, load_checkpoint
from muqrt.reference.muq import MuQ
from muqrt.reference.random_model import TINY, random_model
from muqrt.reference.rvq import stacked
from muqrt.reference.rvq_file import RvqConfig, save_rvq
from muqrt.runtime.bundle.certificate import THRESHOLDS

GOLDEN = Path(__file__).parents[2] / "reference" / "golden"
MUQ_MINI = Path(__file__).parents[3] / "reference" / "checkpoints" / "muq-mini"
SHALLOW = replace(TINY, encoder_depth=2)
SHA256 = "0" * 64
EQUAL_TOKENS = THRESHOLDS["fp32"].equal_tokens


@pytest.fixture(scope="module")
def shallow() -> Checkpoint:
    return Checkpoint(random_model(SHALLOW), "shallow", SHA256)


def session(model: onnx.ModelProto) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    return ort.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )


def exported(checkpoint: Checkpoint, rvq: TokenRvq) -> ort.InferenceSession:
    model = onnx_from_checkpoint(checkpoint.model, ["tokens"], sources=Sources(rvq=rvq))
    onnx.checker.check_model(model, full_check=True)
    return session(model)


def tokens(running: ort.InferenceSession, waveform: np.ndarray) -> np.ndarray:
    (found,) = running.run(["tokens"], {"waveform": waveform})
    assert found.dtype == np.int32
    return found


@torch.inference_mode()
def reference_input(checkpoint: Checkpoint, rvq: TokenRvq, waveform: np.ndarray) -> torch.Tensor:
    samples = torch.from_numpy(waveform)
    log_mel = checkpoint.model.model.preprocessor_melspec_2048(samples)
    return rvq.input(log_mel, checkpoint.model(samples).hidden_states)


def assert_the_references(checkpoint: Checkpoint, rvq: TokenRvq, music: list[Excerpt]) -> None:
    running = exported(checkpoint, rvq)
    for excerpt in music:
        found = tokens(running, excerpt.waveform)
        x = reference_input(checkpoint, rvq, excerpt.waveform)
        assert equal_tokens(rvq.rvq, x, found) >= EQUAL_TOKENS


def fitted(folder: Path, seed: int = 0, layers: int = 1, **settings: object) -> Path:
    """An RVQ's folder, with torch's initial weights."""
    facts = {"width": 512, "mean": 3.0, "std": 11.0, "stages": 3, "codes": 90, "code_width": 6}
    config = RvqConfig(**{**facts, "layers": layers, **settings})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        save_rvq(config.build(), config, folder)
    return folder


@pytest.mark.parametrize("name", ["label_rate_25", "label_rate_50", "muq_mini"])
@pytest.mark.parametrize("case", ["shortest", "one second"])
def test_tokens_are_the_official_packages(name: str, case: str) -> None:
    checkpoint = load_checkpoint(MUQ_MINI if name == "muq_mini" else GOLDEN / name)
    settings = json.loads((GOLDEN / "cases.json").read_text())[case]
    recording = np.load(GOLDEN / "waveform.npz")["samples"].astype(np.float32) / 32_768
    waveform = np.stack([recording[s : s + settings["samples"]] for s in settings["starts"]])
    with np.load(GOLDEN / name / "outputs.npz") as outputs:
        official = outputs[f"{case}/tokens"]
    running = exported(checkpoint, own_rvq(checkpoint))
    np.testing.assert_array_equal(tokens(running, waveform), official)


def test_muq_minis_tokens_of_music(all_excerpts: list[Excerpt]) -> None:
    checkpoint = load_checkpoint(MUQ_MINI)
    rvq = own_rvq(checkpoint)
    model = onnx_from_checkpoint(checkpoint.model, ["tokens"], sources=Sources(rvq=rvq))
    # Nothing of the encoder is in it.
    assert {node.op_type for node in model.graph.node} == {"LogMel", "MelRvq", "Identity"}
    assert_the_references(checkpoint, rvq, all_excerpts)


def test_an_rvq_of_its_own_statistics(
    shallow: Checkpoint, short_music: list[Excerpt], tmp_path: Path
) -> None:
    rvq = load_token_rvq(fitted(tmp_path / "rvq"), shallow)
    assert (rvq.record.stages, rvq.record.codes, rvq.record.level) == (3, 90, None)
    mel = shallow.model.model.preprocessor_melspec_2048
    log_mel = mel(torch.from_numpy(short_music[0].waveform))
    decibels = log_mel * mel.std_db + mel.mean_db
    torch.testing.assert_close(
        rvq.input(log_mel, []), stacked((decibels - 3.0) / 11.0, 4), atol=1e-5, rtol=1e-5
    )
    assert_the_references(shallow, rvq, short_music)


@pytest.mark.parametrize("level", [0, 2])
def test_an_rvq_of_a_hidden_state(
    shallow: Checkpoint, short_music: list[Excerpt], tmp_path: Path, level: int
) -> None:
    folder = fitted(tmp_path / "rvq", level=level, width=32, mean=0.1, std=0.7, model_sha256=SHA256)
    rvq = load_token_rvq(folder, shallow)
    assert rvq.needs_encoder
    waveform = short_music[0].waveform
    with torch.inference_mode():
        states = shallow.model(torch.from_numpy(waveform)).hidden_states
    torch.testing.assert_close(
        reference_input(shallow, rvq, waveform), (states[level].mT - 0.1) / 0.7
    )
    assert_the_references(shallow, rvq, short_music)


@pytest.mark.parametrize("layers", [2, 3])
def test_projections_of_several_layers_are_written_plainly(
    shallow: Checkpoint, short_music: list[Excerpt], tmp_path: Path, layers: int
) -> None:
    rvq = load_token_rvq(fitted(tmp_path / "rvq", layers=layers), shallow)
    model = onnx_from_checkpoint(shallow.model, ["tokens"], sources=Sources(rvq=rvq))
    assert [function.name for function in model.functions] == ["LogMel"]
    assert_the_references(shallow, rvq, short_music)


def test_tokens_beside_the_other_outputs(shallow: Checkpoint, short_music: list[Excerpt]) -> None:
    rvq, waveform = own_rvq(shallow), short_music[0].waveform
    running = session(
        onnx_from_checkpoint(shallow.model, ["features", "tokens"], sources=Sources(rvq=rvq))
    )
    assert [each.name for each in running.get_outputs()] == ["features", "tokens"]
    alone = tokens(exported(shallow, rvq), waveform)
    np.testing.assert_array_equal(tokens(running, waveform), alone)


def test_odd_lengths_and_batches(shallow: Checkpoint) -> None:
    rvq = own_rvq(shallow)
    running = exported(shallow, rvq)
    random = np.random.default_rng(0)
    for batch, samples in [(1, 1025), (2, 1919), (3, 1920), (2, 4079), (7, 5003)]:
        waveform = random.normal(0, 0.1, (batch, samples)).astype(np.float32)
        found = tokens(running, waveform)
        assert found.shape == (batch, 8, samples // 960)
        assert equal_tokens(rvq.rvq, reference_input(shallow, rvq, waveform), found) == 1


@pytest.mark.parametrize("targets", [{"use_rvq_target": False}, {"use_vq_target": True}])
def test_a_checkpoint_without_an_rvq(targets: dict[str, bool]) -> None:
    config = replace(SHALLOW, **{"use_rvq_target": False, **targets})
    checkpoint = Checkpoint(MuQ(config), "best-rq", SHA256)
    with pytest.raises(CheckpointError, match=r"best-rq: has no RVQ.*--rvq"):
        own_rvq(checkpoint)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"width": 256}, "vectors of width 256; the mel frames of a step.*512"),
        ({"width": 32, "level": 1, "model_sha256": "1" * 64}, "of another checkpoint"),
        ({"width": 32, "level": 3, "model_sha256": SHA256}, "level 3; shallow has levels 0 to 2"),
        ({"width": 512, "level": 1, "model_sha256": SHA256}, "the hidden states of .* 32 wide"),
    ],
)
def test_an_rvq_that_does_not_fit(
    shallow: Checkpoint, tmp_path: Path, settings: dict[str, object], message: str
) -> None:
    with pytest.raises(CheckpointError, match=message):
        load_token_rvq(fitted(tmp_path / "rvq", **settings), shallow)


def test_a_level_that_is_not_exported(shallow: Checkpoint, tmp_path: Path) -> None:
    folder = fitted(tmp_path / "rvq", level=2, width=32, model_sha256=SHA256)
    rvq = load_token_rvq(folder, shallow)
    rvq.check(shallow, 2)
    with pytest.raises(CheckpointError, match="level 2, beyond the exported level 1"):
        rvq.check(shallow, 1)


def test_the_same_rvq_has_the_same_hash_wherever_it_is(shallow: Checkpoint, tmp_path: Path) -> None:
    own, stat = own_rvq(shallow), shallow.model.config.stat
    config = RvqConfig(
        width=512, mean=stat["melspec_2048_mean"], std=stat["melspec_2048_std"], figures={"x": 1}
    )
    save_rvq(own.rvq, config, tmp_path / "same")
    assert load_token_rvq(tmp_path / "same", shallow).record == own.record
    save_rvq(own.rvq, replace(config, mean=0.0), tmp_path / "other")
    other = load_token_rvq(tmp_path / "other", shallow).record
    assert other.rvq_sha256 != own.record.rvq_sha256


@pytest.fixture
def counted(shallow: Checkpoint) -> tuple[TokenRvq, torch.Tensor, np.ndarray]:
    """An RVQ, what it quantizes, and the reference's tokens (2, 8, 25)."""
    rvq = own_rvq(shallow)
    x = torch.randn(2, 512, 25, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        return rvq, x, rvq.rvq(x)[1].int().numpy()


def test_a_wrong_token_counts_once(
    counted: tuple[TokenRvq, torch.Tensor, np.ndarray],
) -> None:
    rvq, x, right = counted
    assert equal_tokens(rvq.rvq, x, right) == 1
    wrong = right.copy()
    wrong[1, 7, 3] = (wrong[1, 7, 3] + 1) % 1024
    assert equal_tokens(rvq.rvq, x, wrong) == pytest.approx(1 - 1 / 400)
    # An earlier stage's leaves another residual, which the later tokens are not of.
    wrong[1, 0, 3] = (wrong[1, 0, 3] + 1) % 1024
    assert equal_tokens(rvq.rvq, x, wrong) < 1 - 2 / 400


def test_after_another_choice_the_later_tokens_are_judged_by_it(
    counted: tuple[TokenRvq, torch.Tensor, np.ndarray],
) -> None:
    rvq, x, _ = counted
    first, *later = rvq.rvq.stages
    with torch.inference_mode():
        chosen = (first(x)[1] + 1) % 1024
        residual, ours = x - first.from_tokens(chosen), [chosen]
        for stage in later:
            quantized, token = stage(residual)
            residual = residual - quantized
            ours.append(token)
    # All of the first stage are wrong, and no others.
    found = equal_tokens(rvq.rvq, x, torch.stack(ours, 1).int().numpy())
    assert found == pytest.approx(7 / 8)


def test_tokens_that_cannot_be_compared_are_not_equal(
    counted: tuple[TokenRvq, torch.Tensor, np.ndarray],
) -> None:
    rvq, x, right = counted
    for tokens_ in (
        right[:, :7],
        right[:, :, 1:],
        right[:1],
        right[:, :, :0],
        right.astype(np.float32),
        np.where(right == right[0, 0, 0], 1024, right),
        np.where(right == right[0, 0, 0], -1, right),
    ):
        assert equal_tokens(rvq.rvq, x, tokens_) == 0
    spoilt = x.clone()
    spoilt[0, 0, 0] = torch.nan
    assert equal_tokens(rvq.rvq, spoilt, right) == 0


def test_the_nodes_carry_what_tensorrt_looks_a_plugin_up_by(shallow: Checkpoint) -> None:
    """The names, inputs and attributes of plugins.py's signatures, and the parser's three."""
    model = onnx_from_checkpoint(shallow.model, ["tokens"], sources=Sources(rvq=own_rvq(shallow)))
    parser = {"plugin_namespace": b"muqrt", "plugin_version": b"1", "aot": 1}
    found = {node.op_type: node for node in model.graph.node if node.domain == "muqrt"}
    attributes = {
        name: {each.name: onnx.helper.get_attribute_value(each) for each in node.attribute}
        for name, node in found.items()
    }
    mel = shallow.model.model.preprocessor_melspec_2048
    scale = {name: pytest.approx(getattr(mel, name)) for name in ("mean_db", "std_db")}
    assert attributes == {
        "LogMel": {**parser, **scale},
        "MelRvq": {**parser, "frames_per_step": 4},
    }
    assert {name: len(node.input) for name, node in found.items()} == {"LogMel": 2, "MelRvq": 5}
    functions = {each.name: len(each.input) for each in model.functions}
    assert functions == {"LogMel": 2, "MelRvq": 5}
