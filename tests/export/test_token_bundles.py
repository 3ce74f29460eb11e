"""Only an RVQ that fits gets into a bundle, parity needs that one, and its gate holds."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from subprocess import CompletedProcess
from unittest.mock import Mock

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper

from muqrt.common.files import sha256
from muqrt.errors import CheckpointError, ParityError
from muqrt.export import bundle_from_checkpoint as module
from muqrt.export.bundle_from_checkpoint import bundle_from_checkpoint
from muqrt.export.parity.excerpt import Excerpt
from muqrt.export.parity.gate import parity
from muqrt.export.parity.proof import Proof
from muqrt.export.sources.rvq import load_token_rvq, own_rvq
from muqrt.reference.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from muqrt.reference.muq import MuQ
from muqrt.reference.random_model import TINY, random_model
from muqrt.reference.rvq_file import RvqConfig, save_rvq
from muqrt.runtime.bundle.certificate import TokenMeasurement
from muqrt.runtime.bundle.manifest import Bundle, load_bundle
from muqrt.runtime.bundle.tokens import TOKENS_FILE
from muqrt.runtime.engines.onnxruntime.session import OnnxSession

Command = Callable[..., CompletedProcess[str]]

GRAPHS = {"muq.onnx", "muq-front-end.onnx", "muq-encoder.onnx"}
SHALLOW = replace(TINY, encoder_depth=2)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    folder = tmp_path_factory.mktemp("shallow") / "checkpoint"
    save_checkpoint(random_model(SHALLOW), folder)
    return load_checkpoint(folder)


@pytest.fixture
def music(short_music: list[Excerpt]) -> list[Excerpt]:
    return short_music[:1]


@pytest.fixture
def bundle(checkpoint: Checkpoint, music: list[Excerpt], tmp_path: Path) -> Bundle:
    return bundle_from_checkpoint(Proof(checkpoint, music=music), tmp_path / "bundle", ["tokens"])


@pytest.fixture
def latent_rvq(checkpoint: Checkpoint, tmp_path: Path) -> Path:
    """Folder of an RVQ of level 1, with torch's initial weights."""
    config = RvqConfig(
        width=32, mean=0.0, std=1.0, stages=2, codes=50, level=1, model_sha256=checkpoint.sha256
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        save_rvq(config.build(), config, tmp_path / "rvq")
    return tmp_path / "rvq"


def test_the_bundle_says_what_its_tokens_are(bundle: Bundle, checkpoint: Checkpoint) -> None:
    loaded = load_bundle(bundle.folder)
    assert loaded == bundle
    assert loaded.tokenizer == own_rvq(checkpoint).record
    artefact = loaded.artefact()
    assert [(spec.name, spec.dtype, spec.shape) for spec in artefact.outputs] == [
        ("features", "float32", ["batch", "steps", 32]),
        ("tokens", "int32", ["batch", 8, "whole_steps"]),
    ]
    assert set(artefact.files) == {*GRAPHS, TOKENS_FILE}
    assert artefact.certificate is not None
    measured = [
        each for each in artefact.certificate.measurements if isinstance(each, TokenMeasurement)
    ]
    assert [(each.tokens, each.equal_tokens) for each in measured] == [(200, 1.0), (200, 1.0)]


def test_nobody_who_did_not_ask_gets_tokens(
    checkpoint: Checkpoint, music: list[Excerpt], tmp_path: Path
) -> None:
    plain = bundle_from_checkpoint(Proof(checkpoint, music=music), tmp_path / "plain")
    assert plain.tokenizer is None
    assert {path.name for path in plain.folder.iterdir()} == {
        "bundle.json",
        "parity-answers.npz",
        *GRAPHS,
    }


def test_tokens_of_a_hidden_state_have_no_graph_of_their_own(
    checkpoint: Checkpoint, music: list[Excerpt], latent_rvq: Path, tmp_path: Path
) -> None:
    rvq = load_token_rvq(latent_rvq, checkpoint)
    bundle = bundle_from_checkpoint(
        Proof(checkpoint, rvq=rvq, music=music), tmp_path / "bundle", level=1
    )
    assert bundle.tokenizer is not None
    assert (bundle.tokenizer.level, bundle.tokenizer.stages) == (1, 2)
    assert TOKENS_FILE not in bundle.artefact().files
    assert bundle.artefact().outputs[-1].shape == ["batch", 2, "steps"]
    with pytest.raises(CheckpointError, match="level 1, beyond the exported level 0"):
        bundle_from_checkpoint(Proof(checkpoint, rvq=rvq, music=music), tmp_path / "other", level=0)


def test_a_checkpoint_without_an_rvq_has_no_tokens(music: list[Excerpt], tmp_path: Path) -> None:
    random_targets = Checkpoint(MuQ(replace(SHALLOW, use_rvq_target=False)), "best-rq", "0" * 64)
    with pytest.raises(CheckpointError, match="--rvq"):
        bundle_from_checkpoint(Proof(random_targets, music=music), tmp_path / "bundle", ["tokens"])
    assert not list(tmp_path.iterdir())


def test_parity_needs_the_rvq(
    bundle: Bundle, checkpoint: Checkpoint, music: list[Excerpt], tmp_path: Path
) -> None:
    with pytest.raises(CheckpointError, match="only with their RVQ"):
        parity(bundle, Proof(checkpoint, music=music))
    own = own_rvq(checkpoint)
    save_rvq(own.rvq, RvqConfig(width=512, mean=1.0, std=2.0), tmp_path / "other")
    with pytest.raises(CheckpointError, match="made with another"):
        parity(
            bundle,
            Proof(checkpoint, rvq=load_token_rvq(tmp_path / "other", checkpoint), music=music),
        )
    parity(bundle, Proof(checkpoint, rvq=own, music=music))
    assert bundle.artefact().certified


def test_an_rvq_is_not_a_plain_bundles(
    checkpoint: Checkpoint, music: list[Excerpt], tmp_path: Path
) -> None:
    plain = bundle_from_checkpoint(Proof(checkpoint, music=music), tmp_path / "plain")
    with pytest.raises(CheckpointError, match="made without one"):
        parity(plain, Proof(checkpoint, rvq=own_rvq(checkpoint), music=music))


@pytest.mark.parametrize("file", ["muq.onnx", TOKENS_FILE])
@pytest.mark.parametrize("table", ["projection", "codebooks", "corrections"])
def test_one_changed_table_fails_the_gate(
    bundle: Bundle, checkpoint: Checkpoint, music: list[Excerpt], file: str, table: str
) -> None:
    artefact = bundle.artefact()
    path = bundle.path(file)
    model = onnx.load(path)
    weight = next(w for w in model.graph.initializer if w.name == f"rvq/{table}")
    changed = numpy_helper.to_array(weight) * np.linspace(0.8, 1.2, weight.dims[-1])
    weight.CopyFrom(numpy_helper.from_array(changed.astype(np.float32), weight.name))
    onnx.save(model, path)
    artefact.files[file] = sha256(path)
    parity(bundle, Proof(checkpoint, rvq=own_rvq(checkpoint), music=music))
    assert artefact.certificate is not None
    failed = [
        each.output
        for each in artefact.certificate.measurements
        if isinstance(each, TokenMeasurement) and each.equal_tokens < 0.99
    ]
    assert failed == ["tokens"]
    assert not artefact.certified


def test_a_failed_gate_names_the_share(
    checkpoint: Checkpoint,
    music: list[Excerpt],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("muqrt.export.outputs.tokens.equal_tokens", lambda *_: 0.99)
    with pytest.raises(ParityError, match=r"equal tokens 99\.000%"):
        module.bundle_from_checkpoint(
            Proof(checkpoint, music=music), tmp_path / "bundle", ["tokens"]
        )
    assert not list(tmp_path.iterdir())


def test_the_encoder_does_not_run_for_tokens_alone(bundle: Bundle, music: list[Excerpt]) -> None:
    inputs = {"waveform": music[0].waveform}
    with OnnxSession(bundle, bundle.artefact(), threads=1) as session:
        expected = session.run(inputs)["tokens"]
        *others, (outputs, graph) = session._graphs
        whole = Mock(wraps=graph)
        session._graphs = [*others, (outputs, whole)]
        np.testing.assert_array_equal(session.run(inputs, ["tokens"])["tokens"], expected)
        whole.run.assert_not_called()
        session.run(inputs, ["features", "tokens"])
        whole.run.assert_called_once()


def test_the_commands(
    muqrt: Command, checkpoint: Checkpoint, latent_rvq: Path, tmp_path: Path
) -> None:
    song = Path(__file__).parents[2] / "examples" / "audio" / "greensleeves_duo.flac"
    made = ("export", checkpoint.name, "-o", tmp_path / "bundle", "--music", song)
    done = muqrt(*made, "--rvq", latent_rvq, "--verbose")
    assert done.returncode == 0, done.stderr
    assert "100.000% of tokens" in done.stdout
    proven = ("parity", tmp_path / "bundle", "--checkpoint", checkpoint.name, "--music", song)
    done = muqrt(*proven)
    assert done.returncode == 3
    assert "Name its folder with --rvq" in done.stderr
    assert muqrt(*proven, "--rvq", latent_rvq).returncode == 0
    assert "tokens: 2 per step, 50 codes each, by an RVQ of level 1" in (
        muqrt("info", tmp_path / "bundle").stdout
    )
