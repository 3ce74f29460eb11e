"""``muqrt build``: an int8 artefact that is proven, or nothing at all."""

import json
from pathlib import Path
from shutil import copytree
from subprocess import CompletedProcess
from typing import Protocol

import numpy as np
import onnx
import pytest

import muqrt
from muqrt.errors import ParityError, UsageError
from muqrt.export.bundle.recipe import add
from muqrt.export.parity.excerpt import Excerpt
from muqrt.export.parity.proof import Proof
from muqrt.export.quantize.int8.artefact import Int8Recipe
from muqrt.export.quantize.int8.search import times_missed
from muqrt.reference.checkpoint import Checkpoint, load_checkpoint
from muqrt.runtime.bundle.manifest import Artefact, Bundle, load_bundle

NAME = "onnx-int8"


class Run(Protocol):
    def __call__(self, *arguments: object) -> CompletedProcess[str]: ...


@pytest.fixture(scope="module")
def checkpoint(tiny_checkpoint: Path) -> Checkpoint:
    return load_checkpoint(tiny_checkpoint)


@pytest.fixture(scope="module")
def built(
    token_bundle: Path,
    checkpoint: Checkpoint,
    songs: list[Excerpt],
    short_music: list[Excerpt],
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    folder = copytree(token_bundle, tmp_path_factory.mktemp("int8") / "bundle")
    build(load_bundle(folder), checkpoint, songs, short_music)
    return folder


def build(
    bundle: Bundle,
    checkpoint: Checkpoint,
    songs: list[Excerpt],
    music: list[Excerpt],
    accuracy: float | None = None,
    front_end: bool = True,
) -> None:
    from muqrt.export.sources.rvq import own_rvq

    rvq = own_rvq(checkpoint) if bundle.tokenizer is not None else None
    add(bundle, Int8Recipe(songs, accuracy, front_end), Proof(checkpoint, rvq=rvq, music=music))


def worst_frame_cosine(artefact: Artefact) -> float:
    assert artefact.certificate is not None
    return artefact.certificate.worst.worst_frame_cosine


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_it_is_certified_and_beside_the_others(built: Path, token_bundle: Path) -> None:
    bundle, before = load_bundle(built), load_bundle(token_bundle)
    assert [each.name for each in bundle.artefacts] == ["onnx-fp32", NAME]
    assert bundle.artefacts[0] == before.artefacts[0] and bundle.artefacts[0].certified
    artefact = bundle.artefact(NAME)
    assert artefact.certified and artefact.precision == "int8"
    assert bundle.artefact().name == "onnx-fp32"  # int8 is for those who ask for it
    assert not [path for path in built.iterdir() if path.is_dir()]
    quantization = artefact.quantization
    assert quantization is not None and 0.5 < quantization.share <= 1
    assert quantization.calibrated_seconds == 12


def test_it_answers_like_fp32_and_is_not_it(built: Path) -> None:
    waveform = np.random.default_rng(1).normal(0, 0.1, 50_000).astype(np.float32)
    with muqrt.load(built) as exact, muqrt.load(built, artefact=NAME) as rounded:
        theirs, ours = exact.features(waveform, 24_000), rounded.features(waveform, 24_000)
        tokens = [each.tokens(waveform, 24_000) for each in (exact, rounded)]
    assert 0 < np.linalg.norm(ours - theirs) / np.linalg.norm(theirs) < 0.08
    np.testing.assert_array_equal(*tokens)  # those stay float32


def test_the_front_end_may_stay_float32(
    folder: Path, checkpoint: Checkpoint, songs: list[Excerpt], short_music: list[Excerpt]
) -> None:
    build(load_bundle(folder), checkpoint, songs, short_music, front_end=False)
    bundle = load_bundle(folder)
    both, mixed = (bundle.artefact(name) for name in (NAME, f"{NAME}-mixed"))
    assert mixed.certified and mixed.precision == "int8"
    rounded = [site.name for site in mixed.quantization.sites if site.int8]
    assert rounded and "front_end" not in rounded
    assert "front_end" in [site.name for site in both.quantization.sites if site.int8]
    front_end = onnx.load(folder / "muq-int8-mixed-front-end.onnx", load_external_data=False)
    assert not {"QLinearConv", "QuantizeLinear"} & {node.op_type for node in front_end.graph.node}


@pytest.fixture
def folder(built: Path, tmp_path: Path) -> Path:
    """A copy of the built bundle that a test may change."""
    return copytree(built, tmp_path / "bundle")


def test_an_accuracy_is_reached(
    folder: Path, checkpoint: Checkpoint, songs: list[Excerpt], short_music: list[Excerpt]
) -> None:
    share = load_bundle(folder).artefact(NAME).quantization.share
    wanted = (worst_frame_cosine(load_bundle(folder).artefact(NAME)) + 9) / 10
    build(load_bundle(folder), checkpoint, songs, short_music, wanted)
    artefact = load_bundle(folder).artefact(NAME)
    assert worst_frame_cosine(artefact) >= wanted
    assert artefact.quantization.accuracy == wanted and artefact.quantization.share < share
    assert [each.name for each in load_bundle(folder).artefacts] == ["onnx-fp32", NAME]


def test_what_cannot_be_reached_changes_nothing(
    folder: Path, checkpoint: Checkpoint, songs: list[Excerpt], short_music: list[Excerpt]
) -> None:
    before = files(folder)
    with pytest.raises(ParityError, match="cannot be reached"):
        build(load_bundle(folder), checkpoint, songs, short_music, 1 - 1e-12)
    for accuracy in (0.5, 1.0):
        with pytest.raises(UsageError, match="accuracy"):
            build(load_bundle(folder), checkpoint, songs, short_music, accuracy)
    assert files(folder) == before


def test_what_is_missed_is_the_worst_figure(built: Path) -> None:
    artefact = load_bundle(built).artefact(NAME)
    lack = 1 - worst_frame_cosine(artefact)
    assert times_missed(artefact.certificate, 0.99) <= 1
    assert times_missed(artefact.certificate, 1 - lack / 3) == pytest.approx(3)


def test_an_uncertified_one_is_never_chosen(folder: Path) -> None:
    manifest = json.loads((folder / "bundle.json").read_text())
    manifest["artefacts"] = manifest["artefacts"][::-1]  # int8 first
    manifest["artefacts"][0]["certificate"] = None
    (folder / "bundle.json").write_text(json.dumps(manifest))
    assert load_bundle(folder).artefact().name == "onnx-fp32"


def test_the_command(bundle_copy: Path, tiny_checkpoint: Path, muqrt: Run, tmp_path: Path) -> None:
    refused = muqrt("build", bundle_copy, "--checkpoint", tiny_checkpoint, "--precision", "fp32")
    assert refused.returncode != 0 and "muqrt export wrote" in " ".join(refused.stderr.split())
    broken = tmp_path / "broken.mp3"
    broken.write_bytes(b"none")
    refused = muqrt("build", bundle_copy, "--checkpoint", tiny_checkpoint, "--music", broken)
    assert refused.returncode != 0 and "broken.mp3" in refused.stderr
    assert "Traceback" not in refused.stderr
    done = muqrt("build", bundle_copy, "--checkpoint", tiny_checkpoint, "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["name"] == NAME
