"""The runtime on ARM64 Linux without torch, emulated: every answer, and bundles that prove
themselves."""

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import numpy as np
import pytest
import soundfile

from muqrt.benchmarks.targets import build
from muqrt.common.files import sha256
from muqrt.runtime.bundle.certificate import THRESHOLDS, Measurement, TokenMeasurement
from muqrt.runtime.bundle.manifest import load_bundle
from muqrt.runtime.parity.measuring import measure

from ..conftest import Bundled
from .root import CORES, REPOSITORY, UnavailableError, pythons

Muqrt = Callable[..., CompletedProcess[str]]
SECONDS = 6.0
ARTEFACTS = {"fp32": "onnx-fp32", "int8": "onnx-int8", "ort": "ort-int8"}


def emulated(core: str, *commands: list[object], extras: tuple[str, ...] = ()) -> list:
    """What muqrt's commands print on a processor, one after another."""
    try:
        python = pythons(*extras)[core]
    except UnavailableError as reason:
        pytest.skip(str(reason))
    words = json.dumps([[*map(str, command)] for command in commands])
    script = Path(__file__).with_name("emulated.py")
    done = subprocess.run([python, script], input=words, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    ended = json.loads(done.stdout)
    return [CompletedProcess(command, *each) for command, each in zip(commands, ended, strict=True)]


def processor(core: str) -> str:
    return f"aarch64, implementer 0x41, part {CORES[core][0]}"


def assert_proven(done: CompletedProcess[str], core: str) -> None:
    """``muqrt parity --json`` passed, and the certificates are that processor's."""
    assert done.returncode == 0, done.stderr
    facts = json.loads(done.stdout)
    for artefact in facts["artefacts"]:
        certificate = artefact["certificate"]
        assert certificate["passed"] and certificate["measurements"]
        assert certificate["environment"]["cpu"] == processor(core)
        assert certificate["environment"]["torch"] == "not installed"
        assert certificate["environment"]["onnx"] == "not installed"


def test_a_bundle_proves_itself_there(bundle_copy: Path) -> None:
    (done,) = emulated("cortex-a72", ["parity", bundle_copy, "--json"])
    assert_proven(done, "cortex-a72")


@pytest.mark.full
def test_what_was_spoilt_does_not(
    muqrt: Muqrt, bundle_copy: Path, bundled: Bundled, tmp_path: Path
) -> None:
    """A bit of the weights or of the stored answers, or another model's graph, hash and all."""
    from muqrt.reference.checkpoint import save_checkpoint
    from muqrt.reference.random_model import TINY, random_model

    spoilt = [shutil.copytree(bundle_copy, tmp_path / name) for name in ("weights", "answers")]
    files = "muq.onnx", "parity-answers.npz"
    for folder, file in zip(spoilt, files, strict=True):
        data = bytearray((folder / file).read_bytes())
        data[len(data) // 2] ^= 1
        (folder / file).write_bytes(data)
    save_checkpoint(random_model(TINY, seed=1), tmp_path / "other")
    wrong, other = load_bundle(bundle_copy), bundled(tmp_path / "other", "arm64-other")
    shutil.copy(other / "muq.onnx", bundle_copy)
    wrong.artefacts[0].files["muq.onnx"] = sha256(other / "muq.onnx")
    wrong.save(bundle_copy)
    commands = [["parity", folder] for folder in (*spoilt, bundle_copy)]
    *flipped, replaced = emulated("cortex-a72", *commands)
    for done, file in zip(flipped, files, strict=True):
        assert done.returncode == 3 and f"{file} has changed since it was exported" in done.stderr
    assert replaced.returncode == 1 and "not the reference's numbers" in replaced.stderr


@pytest.fixture(scope="module")
def mini(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of muq-mini with features, tokens and tags, in fp32, in int8, and both in one file."""
    folder = tmp_path_factory.mktemp("mini") / "bundle"
    checkpoint = REPOSITORY / "reference" / "checkpoints" / "muq-mini"
    build(str(checkpoint), folder, 2.0, {})
    return folder


@pytest.fixture(scope="module")
def song(music: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("song") / "song.flac"
    samples, rate_hz = soundfile.read(music / "greensleeves_duo.flac")
    soundfile.write(path, samples[: round(SECONDS * rate_hz)], rate_hz)
    return path


@pytest.mark.full
@pytest.mark.parametrize("core", CORES)
def test_every_answer(core: str, muqrt: Muqrt, mini: Path, song: Path, tmp_path: Path) -> None:
    """Answers to a flac file, by the gates: fp32 and int8 against this machine's fp32."""
    there = shutil.copytree(mini, tmp_path / "there")
    commands = [["doctor", there, "--json"], ["parity", there, "--json"]]
    asked: dict[tuple[str, str], list[object]] = {}
    for name, artefact in ARTEFACTS.items():
        place = [song, "--bundle", there, "--artefact", artefact]
        asked["embed", name] = ["embed", *place, "--features", "-o", tmp_path / f"{name}.npy"]
        asked["tag", name] = ["tag", *place, "--json"]
    asked["tokens", "fp32"] = ["tokens", song, "-b", there, "-o", tmp_path / "tokens.npy"]
    live = ["--threshold", 0, "--fast", "--json"]
    asked["stream", "fp32"] = ["stream", song, "-b", there, *live]
    doctor, parity, *answers = emulated(core, *commands, *asked.values())
    assert_proven(parity, core)
    facts = json.loads(doctor.stdout)
    assert facts["checks"]["CPU engine"]["ok"] and not facts["checks"]["PyTorch"]["ok"]
    assert facts["bundles"][str(there)]["ok"]
    assert all(each.returncode == 0 for each in answers), [each.stderr for each in answers]
    found = dict(zip(asked, answers, strict=True))

    here = [song, "--bundle", mini, "--artefact", "onnx-fp32"]
    for words in (["embed", *here, "--features"], ["tokens", *here]):
        assert muqrt(*words, "-o", tmp_path / f"{words[0]}-here.npy").returncode == 0
    tags = scores(muqrt("tag", *here, "--json").stdout)
    features = np.load(tmp_path / "embed-here.npy")
    for name in ARTEFACTS:
        precision = "fp32" if name == "fp32" else "int8"
        theirs = compared("features", np.load(tmp_path / f"{name}.npy"), features)
        assert theirs.passes(THRESHOLDS[precision]), (name, theirs)
        theirs = compared("tags", scores(found["tag", name].stdout), tags)
        assert theirs.passes(THRESHOLDS[precision]), (name, theirs)
    ours, theirs = (np.load(tmp_path / f"{name}.npy") for name in ("tokens-here", "tokens"))
    equal = TokenMeasurement(
        audio="song", seconds=SECONDS, tokens=ours.size, equal_tokens=float((ours == theirs).mean())
    )
    assert equal.passes(THRESHOLDS["fp32"]), equal

    ours = hops(muqrt("stream", song, "-b", mini, *live).stdout)
    theirs = compared("tags", hops(found["stream", "fp32"].stdout), ours)
    assert theirs.passes(THRESHOLDS["fp32"]), theirs


def compared(output: str, ours: np.ndarray, theirs: np.ndarray) -> Measurement:
    assert ours.shape == theirs.shape and ours.size
    return measure("song", SECONDS, output, ours, theirs)


def scores(said: str) -> np.ndarray:
    """Each window's, from ``muqrt tag --json``: (windows, tags)."""
    (track,) = json.loads(said)["results"]
    return np.array([each["scores"] for each in track["windows"]])


def hops(said: str) -> np.ndarray:
    """Each hop's scores, from ``muqrt stream --json``: (hops, tags)."""
    lines = [json.loads(line) for line in said.splitlines()]
    found = [each["tags"] for each in lines if each["type"] == "hop"]
    return np.array([[each[tag] for tag in sorted(each)] for each in found])


@pytest.mark.full
def test_search(muqrt: Muqrt, mulan_bundle: Path, tmp_path: Path) -> None:
    pytest.importorskip("lancedb")
    seconds = np.arange(36_000) / 24_000
    (tmp_path / "music").mkdir()
    for name, hertz in {"low.wav": 110, "middle.flac": 440, "high.ogg": 3_000}.items():
        sound = 0.3 * np.sin(2 * np.pi * hertz * seconds)
        soundfile.write(tmp_path / "music" / name, sound, 24_000)
    asked = ["search", tmp_path / "music", "rainy night saxophone", "-b", mulan_bundle, "--json"]
    commands = [*asked, "--index", tmp_path / "there"]
    there = emulated("cortex-a72", commands, commands, extras=("search",))
    here = muqrt(*asked, "--index", tmp_path / "here")
    expected = json.loads(here.stdout)
    for done, new in zip(there, (3, 0), strict=True):
        assert done.returncode == 0, done.stderr
        found = json.loads(done.stdout)
        assert found["index"] == {"files": 3, "new": new, "gone": 0, "unusable": 0}
        ours, theirs = ([each["audio"] for each in x["results"]] for x in (found, expected))
        assert ours == theirs
        ours, theirs = ([each["cosine"] for each in x["results"]] for x in (found, expected))
        assert ours == pytest.approx(theirs, abs=1e-5)
