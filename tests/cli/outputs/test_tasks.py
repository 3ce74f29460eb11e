"""``muqrt embed`` writes whole files only, computes none twice, and one bad file harms no other."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import numpy as np
import pytest
import soundfile

from muqrt.cli.audio.files import AudioFiles
from muqrt.cli.outputs.run_manifest import RUN_MANIFEST_FILE
from muqrt.cli.outputs.tasks import Tasks
from muqrt.errors import UsageError
from muqrt.runtime.bundle.manifest import load_bundle
from muqrt.runtime.load import load

Command = Callable[..., CompletedProcess[str]]

WINDOW_SECONDS = 2


def write_noise(path: Path, seconds: float, seed: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).uniform(-0.5, 0.5, round(seconds * 24_000))
    soundfile.write(path, noise, 24_000)
    return path


@pytest.fixture
def songs(tmp_path: Path) -> Path:
    """A folder with three songs, one of them in a folder of its own."""
    names = ("a.wav", "b.flac", "album/a.wav")
    for seed, name in enumerate(names):
        write_noise(tmp_path / "songs" / name, 0.2, seed)
    return tmp_path / "songs"


@pytest.fixture
def short_windows(bundle_copy: Path) -> Path:
    """A bundle whose windows are so short that every song has several."""
    document = json.loads((bundle_copy / "bundle.json").read_text())
    document["framing"]["window_samples"] = WINDOW_SECONDS * 24_000
    (bundle_copy / "bundle.json").write_text(json.dumps(document))
    # The certificate is for the longer windows; its numbers hold for these too.
    bundle = load_bundle(bundle_copy)
    (artefact,) = bundle.artefacts
    assert artefact.certificate is not None
    bound = {"artefact_sha256": artefact.digest}
    artefact.certificate = artefact.certificate.model_copy(update=bound)
    bundle.save(bundle_copy)
    return bundle_copy


def contents(folder: Path) -> list[str]:
    found = (p for p in folder.rglob("*") if p.is_file() and p.name != RUN_MANIFEST_FILE)
    return sorted(p.relative_to(folder).as_posix() for p in found)


def test_a_folder_becomes_a_folder(
    muqrt: Command, tiny_bundle: Path, songs: Path, tmp_path: Path
) -> None:
    done = muqrt("embed", songs, "-b", tiny_bundle, "-o", tmp_path / "out")
    assert done.returncode == 0
    assert contents(tmp_path / "out") == ["a.wav.npy", "album/a.wav.npy", "b.flac.npy"]
    model = load(tiny_bundle)
    for name in ("a.wav", "b.flac", "album/a.wav"):
        written = np.load(tmp_path / "out" / f"{name}.npy")
        np.testing.assert_array_equal(written, model.embed(songs / name))


def test_a_second_run_goes_on_where_the_first_ended(
    muqrt: Command, tiny_bundle: Path, songs: Path, tmp_path: Path
) -> None:
    command = ("embed", songs, "-b", tiny_bundle, "-o", tmp_path / "out", "--json")
    assert json.loads(muqrt(*command).stdout)["kept"] == 0
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "out").rglob("*.npy")}
    assert len(before) == 3

    new = write_noise(songs / "new.wav", 0.2)
    report = json.loads(muqrt(*command).stdout)
    assert report["kept"] == 3
    assert [each["audio"] for each in report["results"]] == [str(new)]
    assert {p: p.stat().st_mtime_ns for p in before} == before
    assert (tmp_path / "out" / "new.wav.npy").is_file()


@pytest.mark.parametrize("features", [[], ["--features"]])
def test_one_bad_file_does_not_stop_the_others(
    muqrt: Command, short_windows: Path, songs: Path, tmp_path: Path, features: list[str]
) -> None:
    # Whole windows of it can be read before its end turns out to be missing.
    cut = write_noise(songs / "aa.wav", 3 * WINDOW_SECONDS)
    os.truncate(cut, 2 * 24_000 * 2 * WINDOW_SECONDS)
    options = ["-b", short_windows, "--overlap-seconds", "0", *features]
    done = muqrt("embed", songs, *options, "-o", tmp_path / "out", "--json")
    assert done.returncode == 3
    assert "1 of 4 files" in done.stderr
    failed = [each for each in json.loads(done.stdout)["results"] if "error" in each]
    assert [each["audio"] for each in failed] == [str(cut)]
    assert "cut short" in failed[0]["error"]
    assert contents(tmp_path / "out") == ["a.wav.npy", "album/a.wav.npy", "b.flac.npy"]


@pytest.mark.parametrize("seconds", [0.3, 2 * WINDOW_SECONDS, 11.1])
def test_written_features_are_the_models(
    muqrt: Command, short_windows: Path, tmp_path: Path, seconds: float
) -> None:
    song, output = write_noise(tmp_path / "a.wav", seconds), tmp_path / "a.npy"
    options = ["-b", short_windows, "--overlap-seconds", "1", "-o", output, "--threads", "all"]
    assert muqrt("embed", song, "--features", *options).returncode == 0
    written = np.load(output)
    assert written.dtype == np.float32
    np.testing.assert_array_equal(written, load(short_windows, overlap_seconds=1.0).features(song))


def test_jobs_of_one_file_and_of_many(tmp_path: Path) -> None:
    one, two = (Path("a.wav"), Path("a.wav")), (Path("x/b.wav"), Path("x/b.wav"))
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "a.wav.npy").touch()
    for files, output, written, kept in (
        ([one], tmp_path / "out.npy", [tmp_path / "out.npy"], 0),
        ([one, two], None, [None, None], 0),
        ([one, two], tmp_path / "out", [tmp_path / "out" / "x" / "b.wav.npy"], 1),
    ):
        found = Tasks.for_files(AudioFiles(files), output)
        assert ([task.output for task in found.tasks], found.kept) == (written, kept)


def test_outputs_that_make_no_sense(tmp_path: Path) -> None:
    song = (tmp_path / "a.wav", Path("a.wav"))
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="one file for 2 audio files"):
        Tasks.for_files(AudioFiles([song, song]), tmp_path / "out.npy")
    with pytest.raises(UsageError, match="the same name"):
        other = (tmp_path / "b" / "a.wav", Path("a.wav"))
        Tasks.for_files(AudioFiles([song, other]), tmp_path / "out")
    with pytest.raises(UsageError, match="a file is in the way"):
        Tasks.for_files(AudioFiles([song]), tmp_path / "file")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["-o", "{}/out.npy"], "one file for 3 audio files"),
        (["--features"], "say where they go with --output"),
        (["{}/songs/album", "-o", "{}/out"], "the same name"),
        (["--overlap-seconds", "30"], "shorter than the window"),
    ],
)
def test_usage_errors(
    muqrt: Command,
    tiny_bundle: Path,
    songs: Path,
    tmp_path: Path,
    options: list[str],
    message: str,
) -> None:
    filled = [each.format(tmp_path) for each in options]
    done = muqrt("embed", songs, "-b", tiny_bundle, *filled)
    assert (done.returncode, done.stdout) == (2, "")
    assert message in done.stderr
    assert not list(tmp_path.glob("out*"))


@pytest.mark.parametrize(
    ("how", "code"), [(signal.SIGTERM, 130), (signal.SIGINT, 130), (signal.SIGKILL, -9)]
)
@pytest.mark.parametrize("features", [[], ["--features"]], ids=["embeddings", "features"])
def test_an_interrupted_run_leaves_whole_files(
    short_windows: Path, tmp_path: Path, features: list[str], how: signal.Signals, code: int
) -> None:
    song = write_noise(tmp_path / "song.wav", 5)
    songs, output = tmp_path / "songs", tmp_path / "out"
    songs.mkdir()
    for number in range(400):
        (songs / f"{number:03}.wav").symlink_to(song)
    command = ["embed", songs, "-b", short_windows, "-o", output, "--overlap-seconds", "0"]
    with subprocess.Popen([sys.executable, "-m", "muqrt", *map(str, command), *features]) as run:
        wait_for(lambda: len(list(output.glob("[0-9]*.npy"))) >= 3)
        run.send_signal(how)
    assert run.returncode == code
    whole = list(output.glob("[0-9]*.npy"))
    assert 3 <= len(whole) < 400
    shape = np.load(whole[0]).shape
    assert shape == ((125, 32) if features else (32,))
    assert {np.load(path).shape for path in whole} == {shape}
    # Nobody can clean up after SIGKILL, but what it leaves is hidden and never taken for a result.
    if how != signal.SIGKILL:
        assert len(contents(output)) == len(whole)


def wait_for(condition: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_folder_of_results_takes_no_others(
    muqrt: Command, tiny_bundle: Path, short_windows: Path, songs: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    assert muqrt("embed", songs, "-b", tiny_bundle, "-o", out).returncode == 0
    before = contents(out)
    for other in (["-b", short_windows], ["-b", tiny_bundle, "--features"]):
        done = muqrt("embed", songs, *other, "-o", out)
        assert done.returncode == 2
        assert "another model, of other windows, or other ones than" in done.stderr
    assert contents(out) == before


def test_a_folder_of_results_has_one_length_of_windows(
    muqrt: Command, tiny_bundle: Path, tmp_path: Path
) -> None:
    song, out = write_noise(tmp_path / "a.wav", 3), tmp_path / "out"
    whole = ("embed", song, "-b", tiny_bundle, "--window")
    found = {
        window: json.loads(muqrt(*whole, window, "--json").stdout) for window in ("whole", "1.2")
    }
    assert [each["windowing"]["window_seconds"] for each in found.values()] == ["whole", 1.2]
    ours, other = (each["results"][0]["embedding"] for each in found.values())
    assert not np.allclose(ours, other, atol=1e-3)
    expected = load(tiny_bundle).embed(song, window="whole")
    np.testing.assert_allclose(ours, expected, rtol=1e-5)

    done = muqrt(*whole, "whole", "--features", "-o", out / "a.npy")
    assert done.returncode == 0, done.stderr
    np.testing.assert_allclose(np.load(out / "a.npy").mean(axis=0), expected, atol=1e-5)
    (out / "a.npy").unlink()

    assert muqrt(*whole, "whole", "-o", out).returncode == 0
    note = json.loads((out / RUN_MANIFEST_FILE).read_text())
    assert note["windowing"] == {"window_seconds": "whole", "overlap_seconds": 0.0}
    for window in (("1.2",), ("30", "--overlap-seconds", "1")):
        done = muqrt(*whole, *window, "-o", out)
        assert (done.returncode, done.stdout) == (2, "")
        assert "of other windows" in done.stderr
    # A note of an earlier version stands for the usual windows.
    del note["windowing"]
    (out / RUN_MANIFEST_FILE).write_text(json.dumps(note))
    assert muqrt("embed", song, "-b", tiny_bundle, "-o", out).returncode == 0
    assert muqrt(*whole, "whole", "-o", out).returncode == 2
