"""The load on the engine in this process, on a tiny bundle that tags."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import numpy as np
import pytest
from PIL import Image

from muqrt.benchmarks.loadtest.plan import Music
from muqrt.common.config import read_toml
from muqrt.runtime.audio import read as audio

Command = Callable[..., CompletedProcess[str]]

OPTIONS = ("--streams", 4, "--seconds", 3, "--jitter-ms", 20, "--disconnect", 0.5, "--burst", 0.3)


@pytest.fixture(scope="module")
def written(tagged_bundle: Path, music: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The name of the results of a few seconds, in a process where there is no torch."""
    output = tmp_path_factory.mktemp("load") / "v1.2"
    song = music / "greensleeves_duo.flac"
    options = [*OPTIONS, "--threads", 1, "--audio", song, "-o", output, "--json"]
    arguments = ["muqrt", "bench", "streams", "--bundle", tagged_bundle, *options]
    code = (
        "import sys; sys.modules['torch'] = None; sys.modules['onnx'] = None\n"
        f"sys.argv = {[str(each) for each in arguments]}\n"
        "from muqrt.cli.app import main; main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == json.loads(Path(f"{output}.json").read_text())
    return output


def test_every_hop_is_answered_and_counted(written: Path) -> None:
    report = json.loads(Path(f"{written}.json").read_text())
    figures = report["figures"]
    assert (figures["streams_opened"], figures["streams_vanished"]) == (6, 2)
    assert (figures["errors"], figures["hops_unanswered"]) == (0, 0)
    # Two streams of 3 s have hops at 2.0, 2.5 and 3.0 s; the others were cut.
    assert figures["hops"] >= 6
    assert figures["hops"] == len(report["latencies_ms"])
    assert sum(each["hops"] for each in report["over_time"]) == figures["hops"]
    assert 11 < figures["audio_seconds"] <= 12
    assert 0 < figures["latency_p50_ms"] <= figures["latency_p99_ms"] <= figures["latency_max_ms"]
    assert figures["service_p50_ms"] <= figures["latency_p50_ms"]
    assert 0 < figures["real_time_factor"] < 10
    assert figures["rss_peak_mb"] > 30
    assert len(report["samples"]) > 3
    assert report["load"]["burst_seconds"] == 0.3


def test_the_load_is_written_as_a_configuration(written: Path) -> None:
    options = read_toml(Path(f"{written}.toml"))
    assert (options["streams"], options["jitter_ms"], options["chunk_ms"]) == (4, 20.0, 100.0)
    assert len(options["audio"]) == 1 and "churn" not in options


def test_options_override_the_configuration(muqrt: Command, tmp_path: Path) -> None:
    config = tmp_path / "load.toml"
    where = ("bench", "streams", "--server", "localhost:1", "--config", config)
    config.write_text("streams = 0\nseconds = 2\n")
    assert "0 streams" in muqrt(*where).stderr
    # A load that is accepted: what fails is the server.
    assert "localhost:1" in muqrt(*where, "--streams", 3, "--timeout-seconds", 1).stderr
    config.write_text("strems = 5")
    done = muqrt(*where)
    assert done.returncode == 2 and "unknown key 'strems'" in done.stderr


def test_the_page_says_what_was_measured_and_where(written: Path) -> None:
    page = Path(f"{written}.md").read_text()
    report = json.loads(Path(f"{written}.json").read_text())
    for expected in ("| latency p99, ms |", "(v1.2.png)", report["environment"]["cpu"]):
        assert expected in page
    assert "| chunk_seconds | 0.1 |" in page
    assert "ready" not in page  # nobody was asked
    assert "muqrt bench streams --bundle tagged --streams 4" in page
    assert str(written.parent) not in page


def test_the_chart_is_a_picture(written: Path) -> None:
    with Image.open(f"{written}.png") as picture:
        picture.verify()
        assert picture.height > 900


def test_music_goes_round(music: Path) -> None:
    file = music / "greensleeves_duo.flac"
    whole = np.round(audio.load(file, 24_000) * 32_767)
    played = Music([file], 24_000)
    start = int(0.75 * len(whole))
    found = played.excerpt(0.75, 100, len(whole) + 100)
    assert found.dtype == np.int16
    np.testing.assert_allclose(found, np.roll(whole, -start - 100), atol=1)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (("--bundle", ".", "--server", "localhost:1"), "--server"),
        (("--bundle", ".", "--churn", 5), "--churn"),
        (("--server", "localhost:1", "--threads", 2), "--threads"),
        (("--server", "localhost:1", "--churn", 0), "--churn"),
        (("--bundle", ".", "--streams", 0), "streams"),
        (("--bundle", ".", "--jitter-ms", -1), "jitter"),
        (("--bundle", ".", "-o", "."), "folder"),
    ],
)
def test_options_that_make_no_sense(
    options: tuple[object, ...], expected: str, muqrt: Command
) -> None:
    done = muqrt("bench", "streams", *options)
    assert (done.returncode, done.stdout) == (2, "")
    assert expected in done.stderr


def test_a_bundle_without_tags(tiny_bundle: Path, muqrt: Command) -> None:
    done = muqrt("bench", "streams", "--bundle", tiny_bundle)
    assert done.returncode == 2
    assert "tags" in done.stderr


def test_no_server(muqrt: Command) -> None:
    done = muqrt("bench", "streams", "--server", "localhost:1", "--timeout-seconds", 1)
    assert done.returncode == 3
    assert "localhost:1" in done.stderr


@pytest.mark.parametrize("module", ["psutil", "matplotlib"])
def test_what_is_missing_is_said_first(
    module: str, muqrt: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    done = muqrt("bench", "streams", "--bundle", ".", "-o", tmp_path / "x")
    assert done.returncode == 3
    assert "pip install 'muqrt[loadtest]'" in done.stderr
