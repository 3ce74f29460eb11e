"""The command's manners: JSON alone on stdout, documented exit codes, no traceback for mistakes."""

import json
import os
import pty
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest
import soundfile

from muqrt.common.files import sha256
from muqrt.runtime.bundle.manifest import load_bundle

from .test_lazy import COMMANDS

Command = Callable[..., CompletedProcess[str]]

MUQRT = [sys.executable, "-m", "muqrt"]


@pytest.fixture
def run_in_vain(
    muqrt: Command,
    tiny_checkpoint: Path,
    tiny_bundle: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Command:
    """Runs a command in an empty folder, and checks that it leaves it empty."""
    monkeypatch.chdir(tmp_path)

    def run(words: list[str]) -> CompletedProcess[str]:
        places = {"checkpoint": tiny_checkpoint, "bundle": tiny_bundle}
        done = muqrt(*(word.format_map(places) for word in words))
        assert not list(tmp_path.iterdir())
        return done

    return run


def change_a_weight(folder: Path) -> None:
    """Change one weight and every hash with it, so that nothing but the numbers can tell."""
    onnx = pytest.importorskip("onnx")
    model = onnx.load(folder / "muq.onnx")
    heard = [each for each in model.graph.initializer if each.name != "log_mel.tables"]
    weight = max(heard, key=lambda each: len(each.raw_data))
    weight.raw_data = bytes(len(weight.raw_data))
    onnx.save(model, folder / "muq.onnx")
    bundle = load_bundle(folder)
    (artefact,) = bundle.artefacts
    artefact.files = {"muq.onnx": sha256(folder / "muq.onnx")}
    assert artefact.certificate is not None
    bound = {"artefact_sha256": artefact.digest}
    artefact.certificate = artefact.certificate.model_copy(update=bound)
    bundle.save(folder)


@pytest.mark.parametrize("name", COMMANDS)
def test_help_of_each_command(muqrt: Command, name: str) -> None:
    done = muqrt(*name.split(), "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert f"muqrt {name}" in done.stdout
    assert "--json" in done.stdout


@pytest.mark.parametrize(
    ("command", "fields"),
    [
        ("doctor {bundle}", {"environment", "checks", "bundles"}),
        ("info {bundle}", {"format_version", "source", "artefacts"}),
        ("embed {song} -b {bundle}", {"results", "kept"}),
        ("embed {song} -b {bundle} --features -o {out}/a.npy", {"results", "kept"}),
        ("tokens {song} -b {tokenizer} -o {out}/a.npz", {"results", "kept"}),
        ("random-checkpoint -o {out} --size tiny", {"checkpoint", "parameters"}),
        ("export {checkpoint} -o {out} --no-parity --level 0", {"source", "artefacts"}),
        ("parity {copy} --checkpoint {checkpoint} --music {song}", {"source", "artefacts"}),
        ("repository {bundle} -o {out}", {"repository", "model", "files"}),
    ],
)
def test_json_is_one_object_and_nothing_else(
    muqrt: Command,
    tiny_checkpoint: Path,
    tiny_bundle: Path,
    token_bundle: Path,
    bundle_copy: Path,
    music: Path,
    tmp_path: Path,
    command: str,
    fields: set[str],
) -> None:
    places = {
        "bundle": tiny_bundle,
        "tokenizer": token_bundle,
        "copy": bundle_copy,
        "checkpoint": tiny_checkpoint,
        "song": music / "greensleeves_duo.flac",
        "out": tmp_path / "out",
    }
    words = [word.format_map(places) for word in command.split()]
    done = muqrt(*words, "--json")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("\n") == 1
    assert fields <= set(json.loads(done.stdout, parse_constant=pytest.fail))
    # The same for people: something to read, and no JSON.
    done = muqrt(*words)
    assert done.returncode == 0, done.stderr
    assert done.stdout and not done.stdout.startswith("{")


def test_an_embedding_as_json_has_every_value(
    muqrt: Command, tiny_bundle: Path, music: Path
) -> None:
    done = muqrt("embed", music / "bach_prelude_c.mp3", "-b", tiny_bundle, "--json")
    (result,) = json.loads(done.stdout)["results"]
    assert result["shape"] == [32]
    assert len(result["embedding"]) == 32


def test_only_the_gate_notices_a_changed_weight(
    muqrt: Command, tiny_checkpoint: Path, bundle_copy: Path, music: Path
) -> None:
    change_a_weight(bundle_copy)
    embed = ("embed", music / "bach_prelude_c.mp3", "-b", bundle_copy)
    assert muqrt(*embed).returncode == 0
    done = muqrt("parity", bundle_copy, "--checkpoint", tiny_checkpoint, "--json")
    assert done.returncode == 1
    assert "not the reference's numbers: onnx-fp32" in done.stderr
    assert json.loads(done.stdout)["artefacts"][0]["certificate"]["passed"] is False
    # The verdict is kept, and nothing loads the bundle any more.
    assert load_bundle(bundle_copy).artefacts[0].certified is False
    done = muqrt(*embed)
    assert (done.returncode, done.stdout) == (3, "")
    assert "no passing parity certificate" in done.stderr


def test_another_checkpoint_proves_nothing(
    muqrt: Command, bundle_copy: Path, tmp_path: Path
) -> None:
    muqrt("random-checkpoint", "-o", tmp_path / "other", "--size", "tiny", "--seed", "1")
    before = (bundle_copy / "bundle.json").read_bytes()
    done = muqrt("parity", bundle_copy, "--checkpoint", tmp_path / "other")
    assert (done.returncode, done.stdout) == (3, "")
    assert "not the checkpoint of" in done.stderr
    assert (bundle_copy / "bundle.json").read_bytes() == before


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["sing"],
        ["--sing"],
        ["info", "a", "b"],
        ["embed"],
        ["embed", "a.wav", "-b", "bundle", "--server", "localhost:1"],
        ["embed", "a.wav", "-b", "bundle", "--threads", "0"],
        ["embed", "a.wav", "-b", "bundle", "--batch-size", "none"],
        ["embed", "a.wav", "-b", "bundle", "--overlap-seconds", "inf"],
        ["export", "checkpoint"],
        ["export", "{checkpoint}", "-o", "out", "--outputs", "tags"],
        ["export", "{checkpoint}", "-o", "out", "--target", "tpu"],
        ["export", "{checkpoint}", "-o", "out", "--level", "13"],
        ["export", "{checkpoint}", "-o", "out", "--window-seconds", "nan"],
        ["parity"],
        ["parity", "bundle", "--output", "levels"],
        ["random-checkpoint", "-o", "out", "--size", "huge"],
        ["random-checkpoint", "-o", "out", "--seed", "99999999999999999999"],
        ["repository", "{bundle}", "-o", "out", "--model", "../muq"],
        ["repository", "{bundle}", "-o", "out", "--queue-delay-ms", "inf"],
    ],
    ids=" ".join,
)
def test_wrong_usage(run_in_vain: Command, words: list[str]) -> None:
    done = run_in_vain(words)
    assert done.returncode == 2
    # Asked for nothing, it says what there is to ask for.
    assert done.stderr if words else "Usage: muqrt" in done.stdout


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["info", "nowhere"], "muqrt export"),
        (["embed", "nowhere.wav", "-b", "nowhere"], "muqrt export"),
        (["embed", ".", "-b", "nowhere"], "no audio files in this folder"),
        (["embed", "nowhere.wav", "--server", "localhost:1"], "muqrt serve"),
        (["export", "./nowhere", "-o", "out"], "no such folder or file"),
        (["export", "{checkpoint}", "-o", "out", "--music", "nowhere.wav"], "no such file"),
        (["parity", "nowhere", "--checkpoint", "{checkpoint}"], "muqrt export"),
        (["parity", "{bundle}", "--checkpoint", "./nowhere"], "no such folder or file"),
        (["repository", "nowhere", "-o", "out"], "muqrt export"),
        (["repository", "{bundle}", "-o", "out", "--artefact", "int8"], "it has: onnx-fp32"),
        (["serve", "nowhere"], "muqrt repository"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_is_not_there(run_in_vain: Command, words: list[str], message: str) -> None:
    if "--server" in words:
        pytest.importorskip("tritonclient.grpc")
    done = run_in_vain(words)
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr.startswith("muqrt: ")
    assert message in done.stderr


@pytest.fixture(scope="module")
def song(tmp_path_factory: pytest.TempPathFactory, music: Path) -> Path:
    path = tmp_path_factory.mktemp("song") / "song.wav"
    soundfile.write(path, *soundfile.read(music / "greensleeves_duo.flac", stop=96_000))
    return path


def test_without_a_bundle_the_shipped_one_answers(muqrt: Command, song: Path) -> None:
    done = muqrt("embed", song)
    assert "By muq-mini, which comes with muqrt." in done.stdout
    assert json.loads(muqrt("embed", song, "--json").stdout)["model"] == "muq-mini"
    assert json.loads(muqrt("info", "--json").stdout)["source"]["checkpoint"] == "muq-mini"


def test_a_named_bundle_is_not_announced(muqrt: Command, song: Path, tiny_bundle: Path) -> None:
    assert "comes with muqrt" not in muqrt("embed", song, "-b", tiny_bundle).stdout


@pytest.mark.parametrize("command", ["build", "parity", "bench model"])
def test_what_needs_a_bundle_of_your_own_says_so(muqrt: Command, command: str) -> None:
    done = muqrt(*command.split())
    assert (done.returncode, done.stdout) == (2, "")
    assert "make your own with muqrt export CHECKPOINT -o BUNDLE" in done.stderr


def test_progress_is_not_on_stdout(tiny_bundle: Path, music: Path) -> None:
    terminal, stderr = pty.openpty()
    command = [*MUQRT, "embed", str(music), "-b", str(tiny_bundle), "--json"]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=stderr, text=True)
    os.close(stderr)
    shown = os.read(terminal, 1 << 16)
    os.close(terminal)
    assert b"Embedding" in shown
    assert len(json.loads(done.stdout)["results"]) == 4


def test_a_reader_that_has_gone_changes_nothing(
    tiny_bundle: Path, music: Path, tmp_path: Path
) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    song, output = music / "bach_prelude_c.mp3", tmp_path / "a.npy"
    command = [*MUQRT, "embed", str(song), "-b", str(tiny_bundle), "-o", str(output)]
    done = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, text=True)
    os.close(writing)
    assert (done.returncode, done.stderr) == (0, "")
    assert output.is_file()


def test_a_full_disk_under_stdout(tiny_bundle: Path) -> None:
    with Path("/dev/full").open("wb") as full:
        command = [*MUQRT, "info", str(tiny_bundle)]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 3
    assert done.stderr.startswith("muqrt: the disk is full")
    assert done.stderr.count("\n") == 1


def test_a_name_that_is_not_utf8(tiny_bundle: Path, music: Path, tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9.flac")
    shutil.copy(music / "greensleeves_duo.flac", tmp_path / name)
    command = [*MUQRT, "embed", str(tmp_path), "-b", str(tiny_bundle), "-o", str(tmp_path / "out")]
    strict = {**os.environ, "PYTHONIOENCODING": "utf-8:strict"}
    done = subprocess.run(command, capture_output=True, text=True, env=strict)
    assert (done.returncode, done.stderr) == (0, "")
    assert "caf\\udce9.flac: 32 ->" in done.stdout
    assert (tmp_path / "out" / f"{name}.npy").is_file()
