"""A MuQ-MuLan's bundle: what is in it, that its gates hold, and what is refused."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from subprocess import CompletedProcess

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper

from muqrt.common.files import sha256
from muqrt.errors import CheckpointError, ParityError, UsageError
from muqrt.export.bundle.recipe import add
from muqrt.export.bundle_from_checkpoint import bundle_from_checkpoint
from muqrt.export.parity.excerpt import Excerpt
from muqrt.export.parity.gate import parity, refuse_uncertified
from muqrt.export.parity.proof import Proof
from muqrt.export.quantize.int8.artefact import Int8Recipe
from muqrt.export.sources.checkpoint import JointCheckpoint, load_source
from muqrt.export.text_artefact import TextTowerRecipe
from muqrt.reference.mulan.model import MuLan
from muqrt.runtime.bundle.manifest import Bundle, load_bundle
from muqrt.runtime.engines.open_session import open_session
from muqrt.runtime.parity.measuring import measure_ranks

Command = Callable[..., CompletedProcess[str]]

HEARING = {"muq.onnx", "muq-without-latents.onnx", "muq-front-end.onnx", "muq-encoder.onnx"}


@pytest.fixture(scope="module")
def checkpoint(mulan_checkpoint: Path) -> JointCheckpoint:
    source = load_source(mulan_checkpoint)
    assert isinstance(source, JointCheckpoint)
    return source


@pytest.fixture
def bundle(mulan_copy: Path) -> Bundle:
    return load_bundle(mulan_copy)


def test_what_is_in_it(bundle: Bundle, checkpoint: JointCheckpoint) -> None:
    hearing, texts = bundle.artefacts
    assert (hearing.name, hearing.tower) == ("onnx-fp32", None)
    assert (texts.name, texts.tower) == ("text-fp32", "text")
    assert set(hearing.files) == HEARING
    assert set(texts.files) == {"mulan_text.onnx", "tokenizer.json"}
    assert hearing.certified and texts.certified
    assert [spec.name for spec in hearing.outputs] == ["features", "embedding", "latents"]
    assert bundle.joint == checkpoint.joint
    assert bundle.joint.clip_samples == 240_000
    assert bundle.source.parameters == checkpoint.parameters
    assert bundle.artefact() == hearing and bundle.artefact(tower="text") == texts


def test_the_words_that_were_learned_are_bound_to_the_text_tower(worded_bundle: Path) -> None:
    bundle = load_bundle(worded_bundle)
    hearing, texts = bundle.artefacts
    assert texts.certified and "words.txt" not in hearing.files
    assert texts.files["words.txt"] == sha256(worded_bundle / "words.txt")
    assert (worded_bundle / "words.txt").read_text(encoding="utf-8").split()[:2] == [
        "jazz",
        "piano",
    ]


def test_nobody_pays_for_latents_who_does_not_ask(bundle: Bundle) -> None:
    """Their graph holds nothing of the tower."""
    names = {
        file: {node.name.split("/")[0] for node in onnx.load(bundle.path(file)).graph.node}
        for file in HEARING
    }
    assert "audio" in names.pop("muq.onnx")
    assert not any("audio" in found for found in names.values())


def test_latents_alone_and_with_others(bundle: Bundle, short_music: list[Excerpt]) -> None:
    inputs = {"waveform": short_music[0].waveform}
    with open_session(bundle, bundle.artefact(), threads=1) as session:
        everything = session.run(inputs)
        for outputs in (["latents"], ["features"], ["features", "latents"]):
            for name, value in session.run(inputs, outputs).items():
                np.testing.assert_allclose(value, everything[name], atol=1e-5)


def test_the_gate_sees_a_wrong_tower(
    bundle: Bundle, checkpoint: JointCheckpoint, short_music: list[Excerpt]
) -> None:
    """Of either kind: as it would be if two of its weights were swapped."""
    for artefact in bundle.artefacts:
        graph = onnx.load(bundle.path(artefact.file))
        (weight,) = (
            each for each in graph.graph.initializer if each.name.endswith("to_latents.weight")
        )
        matrix = numpy_helper.to_array(weight)[:, ::-1]
        weight.raw_data = np.ascontiguousarray(matrix).tobytes()
        bundle.path(artefact.file).write_bytes(graph.SerializeToString())
        artefact.files[artefact.file] = sha256(bundle.path(artefact.file))
    parity(bundle, Proof(checkpoint, music=short_music[:1]))
    assert not any(artefact.certified for artefact in bundle.artefacts)
    with pytest.raises(ParityError, match=r"worst cosine of latents -?0\.\d+, equal ranks \d"):
        refuse_uncertified(bundle)


def test_int8(bundle: Bundle, checkpoint: JointCheckpoint, short_music: list[Excerpt]) -> None:
    music = short_music[:2]
    proof = Proof(checkpoint, music=music)
    for recipe in (TextTowerRecipe("int8"), Int8Recipe(music)):
        artefact = add(bundle, recipe, proof)
        assert artefact.certified and artefact.certificate is not None
        assert 0.99 < artefact.certificate.worst.worst_latents_cosine < 0.999999
    again = load_bundle(bundle.folder)
    assert [each.name for each in again.audio_artefacts] == ["onnx-fp32", "onnx-int8"]
    with pytest.raises(UsageError, match="fp32, int8"):
        TextTowerRecipe("fp16")


def test_ranks_count_only_what_has_an_order() -> None:
    reference = np.array([[0.1, 0.2, 0.2005], [0.5, 0.4, 0.9]])
    found = measure_ranks("x", 0.0, reference, reference)
    assert (found.pairs, found.equal_ranks) == (2 + 3 + 3, 1.0)  # a row, a row, three columns
    swapped = reference[:, [1, 0, 2]]
    assert measure_ranks("x", 0.0, swapped, reference).equal_ranks == 6 / 8
    assert measure_ranks("x", 0.0, np.full((2, 3), np.nan), reference).equal_ranks == 0
    assert measure_ranks("x", 0.0, reference[:1, :1], reference[:1, :1]).pairs == 0


def test_a_level_below_the_tower(checkpoint: JointCheckpoint, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="reads level 12, beyond the exported level 3"):
        bundle_from_checkpoint(Proof(checkpoint), tmp_path / "bundle", level=3)


def test_a_checkpoint_whose_tokenizer_does_not_fit(mulan_checkpoint: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(mulan_checkpoint, tmp_path / "checkpoint")
    tokenizer = folder / "xlm-roberta-base" / "tokenizer.json"
    document = json.loads(tokenizer.read_text(encoding="utf-8"))
    document["model"]["vocab"] += [[f"extra{index}", -20.0] for index in range(400)]
    tokenizer.write_text(json.dumps(document), encoding="utf-8")
    with pytest.raises(CheckpointError, match=r"knows \d+ tokens, the text encoder .* only 400"):
        load_source(folder)
    tokenizer.unlink()
    with pytest.raises(CheckpointError, match=r"no tokenizer\.json"):
        load_source(folder)


def test_another_checkpoint_proves_nothing(bundle: Bundle, checkpoint: JointCheckpoint) -> None:
    other = replace(checkpoint, sha256="0" * 64)
    with pytest.raises(CheckpointError, match="not the checkpoint of"):
        add(bundle, TextTowerRecipe("int8"), Proof(other))


def test_the_commands(muqrt: Command, tmp_path: Path, music: Path) -> None:
    folder, output = tmp_path / "checkpoint", tmp_path / "bundle"
    song = music / "bach_prelude_c.mp3"
    made = muqrt("random-checkpoint", "-o", folder, "--model", "mulan", "--size", "tiny")
    assert made.returncode == 0 and "0.8M RANDOM weights" in made.stdout
    done = muqrt("export", folder, "-o", output, "--music", song)
    assert done.returncode == 0, done.stderr
    assert "text-fp32, fp32: passed" in done.stdout and "ranks" in done.stdout
    wrong = muqrt("build", output, "--checkpoint", folder, "--tower", "text", "--engine", "torch")
    assert wrong.returncode == 2 and "--precision int8" in wrong.stderr
    shown = muqrt("info", output)
    assert "text-fp32" in shown.stdout
    assert "latents: 512 wide, for clips of 10 s and texts of up to 512 tokens" in shown.stdout


def test_the_reference_is_the_models_own(checkpoint: JointCheckpoint) -> None:
    model: MuLan = checkpoint.mulan
    waveform = torch.from_numpy(np.random.default_rng(0).normal(size=(2, 30_000)) * 0.1).float()
    with torch.inference_mode():
        states = [each.numpy() for each in checkpoint.model(waveform).hidden_states]
        expected = model.audio_latents(waveform).numpy()
    np.testing.assert_allclose(checkpoint.audio_latents(states), expected, atol=1e-6)
