"""Files of any name are read, listed on one line each, and written under the same name."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import numpy as np
import pytest

from muqrt.runtime.load import load

from .test_tasks import write_noise

Command = Callable[..., CompletedProcess[str]]
NAMES = ["\U0001f3b5 \U0001f468\u200d\U0001f3a4.wav", "two\nlines.wav", os.fsdecode(b"caf\xe9.wav")]
NAMES += ["a.wav", "a.flac", "b/a.wav", "A.wav", "-o.wav", "tab\t.wav", "\u202ereversed.wav"]


def test_names(muqrt: Command, tiny_bundle: Path, tmp_path: Path) -> None:
    songs, out = tmp_path / "songs", tmp_path / "out"
    for seed, name in enumerate(NAMES):
        write_noise(songs / "plain.wav", 0.2, seed)
        (songs / name).parent.mkdir(exist_ok=True)
        (songs / "plain.wav").rename(songs / name)
    command = ("embed", songs, "-b", tiny_bundle, "-o", out)
    done = muqrt(*command)
    assert (done.returncode, done.stderr) == (0, "")
    listed = [line for line in done.stdout.split("\n") if " -> " in line]
    assert len(listed) == len(NAMES)
    assert not set(done.stdout) & {"\t", "\u202e", "\x1b"}
    model = load(tiny_bundle)
    for name in NAMES:
        written = np.load(out / f"{name}.npy")
        np.testing.assert_array_equal(written, model.embed(songs / name))
    assert json.loads(muqrt(*command, "--json").stdout)["kept"] == len(NAMES)


@pytest.mark.parametrize("name", NAMES[:3])
def test_a_bad_file_of_any_name_is_one_line(
    muqrt: Command, tiny_bundle: Path, tmp_path: Path, name: str
) -> None:
    songs = tmp_path / "songs"
    write_noise(songs / "good.wav", 0.2)
    (songs / name).write_bytes(b"RIFF no audio")
    done = muqrt("embed", songs, "-b", tiny_bundle, "-o", tmp_path / "out")
    assert done.returncode == 3
    (line,) = [line for line in done.stdout.split("\n") if "FAILED" in line]
    assert "muqrt" not in line and "1 of 2 files" in done.stderr
