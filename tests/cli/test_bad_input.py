"""Whatever is wrong: one message that names it, exit code 3, and nothing half-written."""

import json
import os
import resource
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import numpy as np
import pytest
import soundfile

Command = Callable[..., CompletedProcess[str]]

MUQRT = [sys.executable, "-m", "muqrt"]
RATE_HZ = 24_000
MIB = 1 << 20


def noise(seconds: float, channels: int = 1, rate_hz: int = RATE_HZ) -> np.ndarray:
    shape = (round(seconds * rate_hz), channels)
    return np.random.default_rng(0).uniform(-0.5, 0.5, shape).astype(np.float32)


def missing(path: Path) -> None:
    """Writes nothing."""


def text(path: Path) -> None:
    path.write_text("Once upon a time. " * 100)


def cut_short(path: Path) -> None:
    soundfile.write(path, noise(60), RATE_HZ)
    os.truncate(path, 36 * 2 * RATE_HZ)


def without_samples(path: Path) -> None:
    soundfile.write(path, noise(0), RATE_HZ)


def too_short(path: Path) -> None:
    soundfile.write(path, noise(1)[:1024], RATE_HZ)


def too_short_once_resampled(path: Path) -> None:
    soundfile.write(path, noise(1)[:2048], 48_000)


def not_finite(value: float, at_seconds: float) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        samples = noise(40)
        samples[round(at_seconds * RATE_HZ)] = value
        soundfile.write(path, samples, RATE_HZ, "FLOAT")

    write.__name__ = f"{value} at {at_seconds} s"
    return write


@pytest.mark.parametrize("features", [False, True], ids=["embedding", "features"])
@pytest.mark.parametrize(
    ("write", "message"),
    [
        (missing, "no such file"),
        (text, "not audio"),
        (cut_short, "cut short or damaged"),
        (without_samples, "has no samples"),
        (too_short, "too short: 0.043 s"),
        (too_short_once_resampled, "too short: 0.043 s"),
        (not_finite(np.nan, 0.5), "NaN or infinite samples"),
        # Late enough for a whole window to have been embedded before.
        (not_finite(np.inf, 39.0), "NaN or infinite samples"),
    ],
    ids=lambda value: value.__name__ if callable(value) else "",
)
def test_bad_audio(
    muqrt: Command,
    tiny_bundle: Path,
    tmp_path: Path,
    write: Callable[[Path], None],
    message: str,
    features: bool,
) -> None:
    if write is text:
        pytest.importorskip("av")
    song = tmp_path / "song.wav"
    write(song)
    before = list(tmp_path.iterdir())
    output = tmp_path / "song.npy"
    options = ["-b", tiny_bundle, "-o", output, *(["--features"] if features else [])]
    done = muqrt("embed", song, *options)
    assert done.returncode == 3
    assert f"FAILED {song}: " in done.stdout and message in done.stdout
    assert done.stderr == "muqrt: 1 of 1 files could not be used (see above).\n"
    assert list(tmp_path.iterdir()) == before
    report = json.loads(muqrt("embed", song, *options, "--json").stdout)
    assert message in report["results"][0]["error"]


@pytest.mark.parametrize(
    ("rate_hz", "channels"), [(192_000, 1), (8_000, 1), (48_000, 6), (1_000, 2)]
)
def test_odd_audio_that_can_be_used(
    muqrt: Command, tiny_bundle: Path, tmp_path: Path, rate_hz: int, channels: int
) -> None:
    soundfile.write(tmp_path / "a.flac", noise(3, channels, rate_hz), rate_hz)
    options = ["-b", tiny_bundle, "--features", "-o", tmp_path / "a.npy"]
    done = muqrt("embed", tmp_path / "a.flac", *options)
    assert (done.returncode, done.stderr) == (0, "")
    features = np.load(tmp_path / "a.npy")
    assert features.shape == (75, 32)
    assert np.isfinite(features).all()


def test_six_equal_channels_are_one(muqrt: Command, tiny_bundle: Path, tmp_path: Path) -> None:
    sound = noise(2)
    found = []
    for channels in (1, 6):
        soundfile.write(tmp_path / "a.wav", np.repeat(sound, channels, axis=1), RATE_HZ, "FLOAT")
        done = muqrt("embed", tmp_path / "a.wav", "-b", tiny_bundle, "--json")
        found.append(json.loads(done.stdout)["results"][0]["embedding"])
    np.testing.assert_allclose(found[1], found[0], atol=1e-5)


def write_silence(path: Path, seconds: int, rate_hz: int = 8_000) -> Path:
    """A sparse wav file: its samples take neither time nor room."""
    soundfile.write(path, np.zeros(0), rate_hz, "PCM_16")
    header, size = bytearray(path.read_bytes()), 2 * seconds * rate_hz
    header[4:8] = (len(header) - 8 + size).to_bytes(4, "little")
    header[-4:] = size.to_bytes(4, "little")
    path.write_bytes(header)
    os.truncate(path, len(header) + size)
    return path


# The kernel counts a child's peak from its parent's; this one is the process's own, in KiB.
EMBED_AND_TELL_PEAK = """
import atexit, re
from pathlib import Path
status = Path("/proc/self/status")
atexit.register(lambda: print(re.search(r"VmHWM:\\s+(\\d+)", status.read_text())[1]))
from muqrt.cli.app import main
main()
"""


# Decoded, three hours are 1 GB and their features 35 MB; a third of one is 104 MB.
@pytest.mark.slow
@pytest.mark.parametrize(
    ("hours", "more_mib"), [(0.3, 75), pytest.param(3, 150, marks=pytest.mark.full)]
)
def test_hours_need_little_more_memory_than_a_minute(
    tiny_bundle: Path, hours: float, more_mib: int, tmp_path: Path
) -> None:
    peaks = []
    for seconds in (60, round(hours * 3600)):
        song = write_silence(tmp_path / "a.wav", seconds)
        options = ["-b", tiny_bundle, "--features", "-o", tmp_path / "a.npy"]
        command = [sys.executable, "-c", EMBED_AND_TELL_PEAK, "embed", song, *options]
        done = subprocess.run([*map(str, command)], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert np.load(tmp_path / "a.npy", mmap_mode="r").shape == (25 * seconds, 32)
        peaks.append(int(done.stdout.splitlines()[-1]) * 1024)
    assert peaks[1] - peaks[0] < more_mib * MIB
    assert peaks[1] < 400 * MIB


@pytest.mark.parametrize("command", ["info {}", "embed song.wav -b {}", "repository {} -o out"])
@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        ("a changed byte", "muq.onnx has changed"),
        ("a file outside", "points outside the bundle's folder"),
        ("an unknown version", "format version 2"),
    ],
)
def test_bad_bundles(
    muqrt: Command,
    bundle_copy: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    command: str,
    spoil: str,
    message: str,
) -> None:
    document = json.loads((bundle_copy / "bundle.json").read_text())
    if spoil == "a changed byte":
        content = bytearray((bundle_copy / "muq.onnx").read_bytes())
        content[len(content) // 2] ^= 1
        (bundle_copy / "muq.onnx").write_bytes(content)
    elif spoil == "a file outside":
        document["artefacts"][0]["files"]["../../muq.onnx"] = "0" * 64
    else:
        document["format_version"] = 2
    (bundle_copy / "bundle.json").write_text(json.dumps(document))
    soundfile.write(tmp_path / "song.wav", noise(1), RATE_HZ)
    monkeypatch.chdir(tmp_path)
    done = muqrt(*command.format(bundle_copy).split())
    assert (done.returncode, done.stdout) == (3, "")
    assert str(bundle_copy) in done.stderr and message in done.stderr
    assert {path.name for path in tmp_path.iterdir()} == {"bundle", "song.wav"}


@pytest.mark.parametrize("spoil", ["a missing key", "a wrong shape"])
def test_bad_checkpoints(muqrt: Command, tiny_checkpoint: Path, tmp_path: Path, spoil: str) -> None:
    numpy_files = pytest.importorskip("safetensors.numpy")
    checkpoint = shutil.copytree(tiny_checkpoint, tmp_path / "checkpoint")
    state = numpy_files.load_file(checkpoint / "model.safetensors")
    name = sorted(state)[0]
    if spoil == "a missing key":
        del state[name]
        message = f"missing: {name}"
    else:
        message = f"wrong shape: {name} is (7,), expected {state[name].shape}"
        state[name] = np.zeros(7, np.float32)
    numpy_files.save_file(state, checkpoint / "model.safetensors")
    done = muqrt("export", checkpoint, "-o", tmp_path / "out")
    assert (done.returncode, done.stdout) == (3, "")
    assert str(checkpoint) in done.stderr and message in done.stderr
    assert list(tmp_path.iterdir()) == [checkpoint]


@pytest.mark.parametrize("name", ["http", "grpc", "metrics"])
def test_a_port_in_use(muqrt: Command, tiny_bundle: Path, tmp_path: Path, name: str) -> None:
    assert muqrt("repository", tiny_bundle, "-o", tmp_path).returncode == 0
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ports = {"http": 0, "grpc": 0, "metrics": 0, name: port}
        options = [f"--{each}-port={number}" for each, number in ports.items()]
        done = muqrt("serve", tmp_path, *options)
    assert (done.returncode, done.stdout) == (3, "")
    assert f"The {name} port cannot be {port}" in done.stderr
    assert f"--{name}-port" in done.stderr


def with_room_for(size_bytes: int, *command: object) -> CompletedProcess[str]:
    """Run the command where no file can grow beyond a size, as if the disk were full."""

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, size_bytes))

    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    argv = [*MUQRT, *map(str, command)]
    return subprocess.run(argv, capture_output=True, text=True, preexec_fn=limit, env=environment)


@pytest.mark.parametrize(
    "older",
    [
        pytest.param(False, marks=pytest.mark.full, id="nothing there"),
        pytest.param(True, id="an older bundle"),
    ],
)
def test_the_disk_is_full_during_an_export(
    tiny_checkpoint: Path, tiny_bundle: Path, tmp_path: Path, older: bool
) -> None:
    output = tmp_path / "out"
    if older:
        shutil.copytree(tiny_bundle, output)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    done = with_room_for(MIB, "export", tiny_checkpoint, "-o", output)
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr == f"muqrt: {output}: the disk is full; nothing was left half-written.\n"
    assert list(tmp_path.iterdir()) == ([output] if older else [])
    assert {path: path.read_bytes() for path in before} == before


def test_the_disk_is_full_during_the_rest(
    tiny_checkpoint: Path, tiny_bundle: Path, music: Path, tmp_path: Path
) -> None:
    song = music / "greensleeves_duo.flac"
    commands = [
        ["random-checkpoint", "--size", "tiny", "-o", tmp_path / "checkpoint"],
        ["embed", song, "-b", tiny_bundle, "--features", "-o", tmp_path / "a.npy"],
        ["embed", song, "-b", tiny_bundle, "-o", tmp_path / "b.npy"],
    ]
    for command in commands:
        done = with_room_for(100, *command)
        assert (done.returncode, done.stdout) == (3, "")
        assert "full" in done.stderr or "File too large" in done.stderr
        assert done.stderr.count("\n") == 1
        assert not list(tmp_path.iterdir())


def test_a_disk_that_is_too_small_is_seen_beforehand(
    muqrt: Command, tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)._replace(free=MIB)
    monkeypatch.setattr("shutil.disk_usage", lambda path: usage)
    done = muqrt("export", tiny_checkpoint, "-o", tmp_path / "out")
    assert (done.returncode, done.stdout) == (3, "")
    assert f"{tmp_path}: 1 MB free, the bundle needs about 3 MB" in done.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("command", ["export {checkpoint} -o {out}", "random-checkpoint -o {out}"])
def test_somebody_elses_folder_is_left_alone(
    muqrt: Command, tiny_checkpoint: Path, tmp_path: Path, command: str
) -> None:
    (tmp_path / "thesis.tex").write_text("the only copy")
    # A model of another kind has a config.json too.
    (tmp_path / "config.json").write_text("{}")
    done = muqrt(*command.format(checkpoint=tiny_checkpoint, out=tmp_path).split())
    assert (done.returncode, done.stdout) == (3, "")
    assert f"{tmp_path}: " in done.stderr and "choose another folder" in done.stderr
    assert (tmp_path / "thesis.tex").read_text() == "the only copy"
    assert len(list(tmp_path.iterdir())) == 2


def test_the_folder_one_is_in_is_left_alone(
    muqrt: Command, tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    done = muqrt("export", tiny_checkpoint, "-o", ".")
    assert (done.returncode, done.stdout) == (3, "")
    assert "name a folder inside it" in done.stderr
    assert list(tmp_path.rglob("*")) == [tmp_path / "here"]


@pytest.mark.parametrize(
    "command",
    ["export {checkpoint} -o {out}", "random-checkpoint -o {out}", "embed {song} -b {b} -o {out}"],
)
def test_a_folder_that_cannot_be_written(
    muqrt: Command,
    tiny_checkpoint: Path,
    tiny_bundle: Path,
    music: Path,
    tmp_path: Path,
    command: str,
) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o500)
    if os.access(closed, os.W_OK):
        pytest.skip("root may write anywhere")
    places = {
        "checkpoint": tiny_checkpoint,
        "out": closed / "out",
        "song": music / "bach_prelude_c.mp3",
        "b": tiny_bundle,
    }
    done = muqrt(*command.format_map(places).split())
    assert done.returncode == 3
    assert str(closed) in done.stderr
    assert not list(closed.iterdir())
