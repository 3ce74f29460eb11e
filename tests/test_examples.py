"""Every example runs, as its first lines say."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

import muqrt

EXAMPLES = Path(__file__).parent.parent / "examples"


def example(name: str, *arguments: object) -> str:
    """What an example prints."""
    command = [sys.executable, EXAMPLES / f"{name}.py", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_embed_a_folder(tiny_bundle: Path, music: Path, tmp_path: Path) -> None:
    shutil.copy(music / "greensleeves_duo.flac", tmp_path / "a.flac")
    shutil.copy(music / "ode_to_joy_band.ogg", tmp_path / "b.ogg")
    (tmp_path / "broken.wav").write_bytes(b"no music")
    printed = example("embed_folder", tiny_bundle, tmp_path)
    assert printed.startswith("a.flac: nearest b.ogg (")
    with np.load(tmp_path / "embeddings.npz") as found, muqrt.load(tiny_bundle) as model:
        assert sorted(found) == ["a.flac", "b.ogg"]
        np.testing.assert_allclose(found["b.ogg"], model.embed(tmp_path / "b.ogg"), atol=1e-5)


def test_tag_live_audio(tagged_bundle: Path, music: Path) -> None:
    printed = example("live_tags", tagged_bundle, music / "greensleeves_duo.flac")
    vocabulary = ("guitar", "piano", "cello & bass", "[red]drums[/red]", "日本", "quiet")
    assert printed
    assert all(line.startswith(vocabulary) for line in printed.splitlines())
    assert " to 11.1 s" in printed, "what sounds at the end is over with it"


@pytest.mark.slow
def test_train_a_head(tiny_checkpoint: Path, music: Path, tmp_path: Path) -> None:
    samples = muqrt.read_audio(music / "greensleeves_duo.flac")
    for label, gain in {"loud": 1.0, "quiet": 0.01}.items():
        folder = tmp_path / "labelled" / label
        folder.mkdir(parents=True)
        for index in range(5):
            clip = gain * samples[index * 48_000 : (index + 1) * 48_000]
            soundfile.write(folder / f"{index}.wav", clip, 24_000)
    trained = tmp_path / "trained"
    printed = example("train_head", tiny_checkpoint, tmp_path / "labelled", trained)
    assert {line.split()[0] for line in printed.splitlines()[-2:]} == {"loud", "quiet"}
    rows = [json.loads(line) for line in (trained / "manifest.jsonl").read_text().splitlines()]
    assert [row["split"] for row in rows].count("test") == 2


@pytest.mark.slow
@pytest.mark.server
def test_call_the_server(tagged_bundle: Path, music: Path, tmp_path: Path) -> None:
    models = tmp_path / "models"
    muqrt_ = [sys.executable, "-m", "muqrt"]
    write = [*muqrt_, "repository", tagged_bundle, "-o", models, "--stream"]
    subprocess.run(write, check=True, capture_output=True)
    ports = ["--http-port", "0", "--grpc-port", "0", "--metrics-port", "0"]
    serve = subprocess.Popen([*muqrt_, "serve", models, *ports, "--json"], stdout=subprocess.PIPE)
    try:
        assert serve.stdout is not None
        url = json.loads(serve.stdout.readline())["grpc"]
        printed = example("call_server", url, music / "greensleeves_duo.flac")
    finally:
        serve.terminate()
        serve.wait()
    assert printed.startswith("embedding (32,)\n")
    assert "\n11.1 s: " in printed


def test_the_scores_of_the_clips_can_be_laid_out() -> None:
    pytest.importorskip("mido")
    code = "import render; print(*(render.to_midi(each, 1).length for each in render.read_clips()))"
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, cwd=EXAMPLES, check=True)
    assert [float(each) for each in done.stdout.split()] == pytest.approx(
        [36.87, 27.57, 11.09, 20.57], abs=0.05
    )
