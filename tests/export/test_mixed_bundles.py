"""A bundle with a mix of levels and a head from elsewhere: its export, and every way to use it."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import numpy as np
import pytest
import torch

import muqrt
from muqrt.errors import BundleError, CheckpointError, UsageError
from muqrt.export.bundle.recipe import add
from muqrt.export.bundle_from_checkpoint import bundle_from_checkpoint
from muqrt.export.engines.pytorch import TorchRecipe
from muqrt.export.parity.excerpt import Excerpt, dithered
from muqrt.export.parity.gate import parity
from muqrt.export.parity.proof import Proof
from muqrt.export.sources.checkpoint import load_source
from muqrt.export.sources.mix import level_mix
from muqrt.export.sources.score_head import load_head
from muqrt.reference.checkpoint import load_checkpoint
from muqrt.runtime.bundle.manifest import load_bundle
from muqrt.runtime.bundle.meanings import from_texts, to_texts
from muqrt.runtime.bundle.mix import Mix
from muqrt.runtime.parity.prove import prove
from muqrt.runtime.parity.stored import Answers
from muqrt.triton_repo.contract.config import LENGTHS, parse_config
from muqrt.triton_repo.repository.write import write_repository

from ..elsewhere import LABELS, LEVELS, LOGITS, probe

Command = Callable[..., CompletedProcess[str]]


@pytest.fixture(scope="module")
def song(music: Path) -> np.ndarray:
    """(samples,) at 24 kHz, five seconds, dithered as parity's music is."""
    return dithered(muqrt.read_audio(music / "greensleeves_duo.flac")[: 5 * 24_000])


@pytest.fixture(scope="module")
def states(tiny_checkpoint: Path, song: np.ndarray) -> list[torch.Tensor]:
    """The reference's, (steps, width) each, from level 0."""
    with torch.inference_mode():
        found = load_checkpoint(tiny_checkpoint).model(torch.from_numpy(song)[None])
    return [state[0] for state in found.hidden_states]


def mixed(states: list[torch.Tensor]) -> np.ndarray:
    weights = torch.tensor(LOGITS).softmax(0)
    return sum(w * states[level] for w, level in zip(weights, LEVELS, strict=True)).numpy()


def near(ours: np.ndarray, theirs: np.ndarray) -> None:
    assert ours.dtype == np.float32 and ours.shape == theirs.shape
    assert np.linalg.norm(ours - theirs) < 1e-4 * np.linalg.norm(theirs)


def test_the_mix_is_a_level(
    scored_bundle: Path, song: np.ndarray, states: list[torch.Tensor]
) -> None:
    expected = mixed(states)
    with muqrt.load(scored_bundle, threads=1) as model:
        near(model.features(song, 24_000, level="mix"), expected)
        near(model.embed([song, song], 24_000, level="mix"), np.stack([expected.mean(0)] * 2))
        whole = model.features(song, 24_000)
        near(whole, states[12].numpy())
        # Overlapping windows, whose frames are computed once, through the encoder alone.
        two = model.features(song, 24_000, level="mix", window=3.0)
        assert two.shape == expected.shape and not np.allclose(two, expected)
        with pytest.raises(BundleError, match="--levels"):
            model.features(song, 24_000, level=6)


def test_scores_are_the_probes(
    scored_bundle: Path, song: np.ndarray, states: list[torch.Tensor]
) -> None:
    with muqrt.load(scored_bundle, threads=1) as model:
        (whole,) = model.session.run({"waveform": song[None]}, ["scores"])["scores"]
        found, again = model.score([song, song], 24_000)
    with torch.inference_mode():
        mean = torch.stack([states[3], states[5]]).mean((0, 1))
        near(whole, probe()(mean).softmax(-1).numpy())
    assert found.window_scores.shape == (4, 3)
    assert found.edges_seconds.tolist() == [0, 1.48, 2.48, 3.48, 5]  # at whole steps
    assert list(found.by_label()) == LABELS and sum(found.by_label().values()) == pytest.approx(1)
    np.testing.assert_array_equal(found.scores, again.scores)


def test_the_manifest_says_what_they_are(scored_bundle: Path, tiny_bundle: Path) -> None:
    bundle = load_bundle(scored_bundle)
    mix = bundle.meaning(Mix)
    assert mix is not None and (mix.levels, mix.width) == (LEVELS, 32)
    assert mix.weights == pytest.approx(torch.tensor(LOGITS).softmax(0).tolist())
    (artefact,) = bundle.artefacts
    assert [each.name for each in artefact.outputs] == ["features", "embedding", "mix", "scores"]
    assert artefact.certified and artefact.certificate is not None
    assert {each.output for each in artefact.certificate.measurements} >= {"mix", "scores"}
    assert from_texts(to_texts(bundle.meanings)) == bundle.meanings
    document = json.loads((tiny_bundle / "bundle.json").read_text())
    assert not {"mix", "scoring"} & document.keys()  # as before there were any
    lines = [line for each in bundle.meanings.values() for line in each.summary(24_000)]
    assert lines[0].startswith("mix of levels: 6 x 0.2637, 9 x 0.6485")
    assert lines[1] == "3 scores: calm, bright, slow"


def test_a_changed_weight_of_the_mix_fails_the_gate(
    scored_bundle: Path,
    scored_head: Path,
    tiny_checkpoint: Path,
    short_music: list[Excerpt],
    tmp_path: Path,
) -> None:
    document = json.loads((scored_bundle / "bundle.json").read_text())
    document["mix"]["weights"][0] += 0.01
    copy = shutil.copytree(scored_bundle, tmp_path / "copy")
    (copy / "bundle.json").write_text(json.dumps(document))
    bundle = load_bundle(copy)
    assert not bundle.artefacts[0].certified  # its hash covers the weights
    proof = Proof(load_source(tiny_checkpoint), load_head(scored_head), music=short_music[:1])
    parity(bundle, proof)
    assert not bundle.artefacts[0].certified
    with pytest.raises(CheckpointError, match="its scores can be compared only with their head"):
        parity(bundle, Proof(proof.checkpoint, music=short_music[:1]))


def test_the_stored_answers_prove_both(scored_bundle: Path) -> None:
    bundle = load_bundle(scored_bundle)
    prove(bundle, Answers(bundle))
    (artefact,) = bundle.artefacts
    assert artefact.certified
    assert {each.output for each in artefact.certificate.measurements} >= {"mix", "scores"}


def test_pytorch_mixes_and_does_not_score(
    scored_bundle: Path,
    scored_head: Path,
    tiny_checkpoint: Path,
    short_music: list[Excerpt],
    song: np.ndarray,
    states: list[torch.Tensor],
    tmp_path: Path,
) -> None:
    bundle = load_bundle(shutil.copytree(scored_bundle, tmp_path / "copy"))
    proof = Proof(load_source(tiny_checkpoint), load_head(scored_head), music=short_music[:1])
    made = add(bundle, TorchRecipe("fp32"), proof)
    assert made.certified and [each.name for each in made.outputs][-1] == "mix"
    with muqrt.load(bundle.folder, "torch-fp32", threads=1, device="cpu") as model:
        near(model.features(song, 24_000, level="mix"), mixed(states))
        with pytest.raises(BundleError, match="PyTorch's have no scores"):
            model.score(song, 24_000)


def test_triton_gives_both(scored_bundle: Path, tmp_path: Path) -> None:
    write_repository(load_bundle(scored_bundle), tmp_path / "repository")
    config = parse_config((tmp_path / "repository" / "muq" / "config.pbtxt").read_text())
    shapes = {each.name: list(each.dims) for each in config.output}
    assert (shapes["mix"], shapes["scores"]) == ([-1, 32], [3])
    texts = {name: each.string_value for name, each in config.parameters.items()}
    bundle = load_bundle(scored_bundle)
    assert from_texts(texts) == bundle.meanings
    assert bundle.framing.whole_steps(2.0) in json.loads(texts[LENGTHS])  # the head's window


def test_the_commands(muqrt: Command, scored_bundle: Path, music: Path, tmp_path: Path) -> None:
    song = music / "bach_prelude_c.mp3"
    done = muqrt("embed", song, "-b", scored_bundle, "--level", "mix", "-o", tmp_path / "x.npy")
    assert done.returncode == 0 and np.load(tmp_path / "x.npy").shape == (32,), done.stderr
    done = muqrt("score", song, "-b", scored_bundle, "--json")
    assert done.returncode == 0, done.stderr
    facts = json.loads(done.stdout)
    assert facts["labels"] == LABELS and list(facts["results"][0]["scores"]) == LABELS
    assert facts["results"][0]["windows"][0]["start_seconds"] == 0
    done = muqrt("score", song, tmp_path / "no.wav", "-b", scored_bundle)
    assert done.returncode == 3 and "calm 0." in done.stdout and "FAILED" in done.stdout


def test_the_commands_of_a_bundle_without(
    muqrt: Command, tiny_bundle: Path, music: Path, tmp_path: Path
) -> None:
    song = music / "bach_prelude_c.mp3"
    done = muqrt("embed", song, "-b", tiny_bundle, "--level", "mix")
    assert done.returncode == 3 and "has no mix of levels" in done.stderr
    done = muqrt("score", song, "-b", tiny_bundle)
    assert done.returncode == 3 and "has no scores. Export it with a head" in done.stderr
    done = muqrt("score", song, "-b", tiny_bundle, "--window", "3")
    assert done.returncode == 2 and "scores come from clips" in done.stderr


def test_export_takes_a_mix_and_a_head(
    muqrt: Command, tiny_checkpoint: Path, scored_head: Path, tmp_path: Path
) -> None:
    command = ("export", tiny_checkpoint, "-o", tmp_path / "out", "--no-parity", "--level", 5)
    done = muqrt(*command, "--mix", "0,3-5", "--head", scored_head)
    assert done.returncode == 0 and "3 scores, by the head" in done.stdout, done.stderr
    mix = load_bundle(tmp_path / "out").meaning(Mix)
    assert mix is not None and (mix.levels, mix.weights) == ([0, 3, 4, 5], [0.25] * 4)
    done = muqrt(*command, "--mix", "4-6")
    assert done.returncode == 3 and "mixes level 6, beyond the exported level 5" in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("text", "document", "kind", "message"),
    [
        ("thirteen", None, UsageError, "--mix 'thirteen': give a level such as 6"),
        ("3,3", None, UsageError, "level 3 is in the mix twice"),
        ("mix.json", {"levels": [1, 2], "weights": [1]}, UsageError, "1 weights for 2 levels"),
        ("mix.json", {"levels": [1]}, CheckpointError, "weights: Field required"),
        ("mix.json", {"levels": [], "weights": []}, UsageError, "levels: .*at least 1"),
        ("mix.json", {"levels": [1], "weights": [1e999]}, CheckpointError, "not JSON|finite"),
        ("mix.json", [1], CheckpointError, "the file: .*Its fields are levels, weights, softmax"),
        ("none.json", None, CheckpointError, "No such file"),
    ],
)
def test_no_mix(
    tiny_checkpoint: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    text: str,
    document: object,
    kind: type[Exception],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    if document is not None:
        Path(text).write_text(json.dumps(document))
    with pytest.raises(kind, match=message) as caught:
        level_mix(text, load_source(tiny_checkpoint))
    assert "\n" not in str(caught.value)


def test_a_mix_deeper_than_the_model(tiny_checkpoint: Path, tmp_path: Path) -> None:
    source = load_source(tiny_checkpoint)
    (tmp_path / "mix.toml").write_text("levels = [1, 13]\nweights = [-0.5, 2]\n")
    mix = level_mix(str(tmp_path / "mix.toml"), source)
    assert mix.record.weights == [-0.5, 2]
    with pytest.raises(CheckpointError, match=r"mixes level 13; .* levels 0 to 12"):
        bundle_from_checkpoint(Proof(source, mix=mix), tmp_path / "out")
