"""``--max-memory``: what it means, what is refused, and that the real peak stays under it."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import numpy as np
import pytest
import soundfile

from muqrt.cli.memory import size_bytes
from muqrt.cli.options import Where, WhereForFiles
from muqrt.cli.place import Local
from muqrt.errors import UsageError

Command = Callable[..., CompletedProcess[str]]

# Prints the process's peak after the command, as the last word on stderr.
PROGRAM = """
import sys
from muqrt.cli.app import main
from muqrt.common.process.resident import peak_rss_bytes
try:
    main()
finally:
    print(peak_rss_bytes(), file=sys.stderr)
"""
# Of every kind that decoders have, in no order, some longer than a window of 30 s.
LENGTHS_SECONDS = {
    "a.wav": 12.5,
    "b.mp3": 75,
    "c.flac": 29.9,
    "d.ogg": 41,
    "e.flac": 7,
    "f.mp3": 64,
}


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MUQRT_CACHE", str(tmp_path / "cache"))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("500MB", 500_000_000),
        ("1.5 gb", 1_500_000_000),
        ("512MiB", 512 << 20),
        ("2GiB", 2 << 30),
        (None, None),
    ],
)
def test_a_size_has_a_unit(text: str | None, expected: int | None) -> None:
    assert size_bytes(text) == expected


@pytest.mark.parametrize("text", ["500", "", "MB", "-1MB", "1e3MB", "1.MB", "5 TB", "\u0665MB"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match=r"give a size such as 500MB, 1\.5GB or 512MiB"):
        size_bytes(text)


def test_the_limit_is_of_a_place_on_this_machine() -> None:
    place = WhereForFiles(max_memory="1GB").place
    assert isinstance(place, Local) and place.most_bytes == 10**9
    with pytest.raises(UsageError, match="--max-memory is for --bundle, not --server"):
        _ = Where(server="host:1", max_memory="1GB").place
    with pytest.raises(UsageError, match="--max-memory and --precision auto: choose one"):
        _ = Where(precision="auto", max_memory="1GB").place


def test_too_little_is_refused_with_what_is_needed(
    tiny_bundle: Path, music: Path, muqrt: Command, tmp_path: Path
) -> None:
    given = ("-b", tiny_bundle, "--max-memory")
    refused = muqrt("embed", music, *given, "1MB")
    assert (refused.returncode, refused.stdout) == (2, "")
    (line,) = refused.stderr.splitlines()
    assert re.search(r"1 MB of memory: onnx-fp32 needs at least \d+ MB here, \d+ MB of them", line)
    # Measured by now, for the same work.
    done = muqrt("embed", music, *given, "64GB", "--batch-size", 1, "--json")
    assert done.returncode == 0 and len(json.loads(done.stdout)["results"]) == 4
    assert muqrt("embed", music, *given, "64GB", "--window", "whole").returncode == 2
    watched = muqrt("watch", music, "-o", tmp_path / "out", *given, "1MB", "--once")
    assert watched.returncode == 2 and "needs at least" in watched.stderr


def peak_of(*arguments: object) -> tuple[CompletedProcess[str], int]:
    """A command in a process of its own, and the most memory that it had."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *map(str, arguments)],
        capture_output=True,
        text=True,
        env=os.environ,
    )
    return done, int(done.stderr.split()[-1])


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Stereo noise of many lengths and formats."""
    folder, generator = tmp_path_factory.mktemp("library"), np.random.default_rng(0)
    for name, seconds in LENGTHS_SECONDS.items():
        noise = generator.uniform(-0.3, 0.3, (round(seconds * 44_100), 2))
        soundfile.write(folder / name, noise, 44_100)
    return folder


@pytest.mark.full
@pytest.mark.slow
@pytest.mark.parametrize("command", ["embed", "features", "tag", "tokens", "stream", "watch"])
def test_the_real_peak_stays_under_the_limit(command: str, library: Path, tmp_path: Path) -> None:
    """muq-mini, with the least that is said to be needed, and with room for two windows at once."""
    files = [library / name for name in LENGTHS_SECONDS]
    output = tmp_path / "out"
    batches = () if command == "stream" else ("--batch-size", 2)
    arguments: tuple[object, ...] = {
        "embed": ("embed", *files, "-o", output, "--window", 10),
        "features": ("embed", *files, "--features", "-o", output, "--window", 10),
        "tag": ("tag", *files),
        "tokens": ("tokens", *files, "-o", output),
        "stream": ("stream", files[1], "--fast", "--hop-seconds", 2),
        "watch": ("watch", library, "-o", output, "--window", 10, "--once"),
    }[command]
    arguments = (*arguments, *batches, "--threads", 2)
    refused, _ = peak_of(*arguments, "--max-memory", "1MB")
    assert refused.returncode == 2
    (least,) = re.findall(r"needs at least (\d+) MB", refused.stderr)
    for number, more in enumerate((0, 300)):
        limit = int(least) + more
        again = tuple(output / str(number) if each == output else each for each in arguments)
        done, peak_bytes = peak_of(*again, "--max-memory", f"{limit}MB")
        assert done.returncode == 0, done.stderr
        print(f"{command}: limit {limit} MB, peak {peak_bytes / 1e6:.0f} MB")
        assert peak_bytes <= limit * 1e6
        if more:
            assert "windows at once" not in done.stderr  # two fit
