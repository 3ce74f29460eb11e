"""Features of any level: the reference's hidden states, each layer run once."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import numpy as np
import pytest
import torch

import muqrt
from muqrt.errors import BundleError, UsageError
from muqrt.export.bundle.recipe import add
from muqrt.export.engines.pytorch import TorchRecipe
from muqrt.export.parity.excerpt import dithered, excerpts
from muqrt.export.parity.proof import Proof
from muqrt.export.sources.checkpoint import load_source
from muqrt.reference.checkpoint import load_checkpoint
from muqrt.runtime.bundle.manifest import load_bundle
from muqrt.runtime.engines.session import Levels
from muqrt.runtime.inference.levels import LevelSession, parsed_level

Command = Callable[..., CompletedProcess[str]]


@pytest.fixture(scope="module")
def song(music: Path) -> np.ndarray:
    """(samples,) at 24 kHz, five seconds, dithered as parity's music is."""
    return dithered(muqrt.read_audio(music / "greensleeves_duo.flac")[: 5 * 24_000])


@pytest.fixture(scope="module")
def states(tiny_checkpoint: Path, song: np.ndarray) -> list[np.ndarray]:
    """The reference's, (steps, width) each, from level 0."""
    with torch.inference_mode():
        found = load_checkpoint(tiny_checkpoint).model(torch.from_numpy(song)[None])
    return [state[0].numpy() for state in found.hidden_states]


@pytest.fixture(scope="module")
def model(levels_bundle: Path) -> muqrt.Model:
    return muqrt.load(levels_bundle, threads=1)


def near(ours: np.ndarray, theirs: np.ndarray) -> None:
    assert ours.dtype == np.float32 and ours.shape == theirs.shape
    assert np.linalg.norm(ours - theirs) < 1e-4 * np.linalg.norm(theirs)


def test_a_level_and_several(
    model: muqrt.Model, song: np.ndarray, states: list[np.ndarray]
) -> None:
    for level in (0, 6, 12):
        near(model.features(song, 24_000, level=level), states[level])
    near(model.features(song, 24_000), states[12])
    for levels in ([9, 10, 11, 12], [12, 0, 12], [3]):
        expected = np.stack([states[level] for level in levels], axis=1)
        near(model.features(song, 24_000, level=levels), expected)
        near(model.embed(song, 24_000, level=levels), expected.mean(axis=0))
    near(model.embed([song, song], 24_000, level=6), np.stack([states[6].mean(axis=0)] * 2))


def test_numbers_of_numpy(model: muqrt.Model, song: np.ndarray) -> None:
    for level, same in ((np.int64(6), 6), (np.arange(5, 7), [5, 6]), (np.array(6), 6)):
        ours, theirs = (model.features(song, 24_000, level=each) for each in (level, same))
        assert np.array_equal(ours, theirs)


def test_one_level_in_a_list_is_another_artefact(model: muqrt.Model) -> None:
    names = [LevelSession(model.session, each).artefact_sha256 for each in (6, [6], [5, 6])]
    digest = model.session.artefact_sha256
    assert names == [f"{digest}, level 6", f"{digest}, levels 6", f"{digest}, levels 5,6"]


def test_layers_run_once(
    model: muqrt.Model, song: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = []
    run = Levels.run

    def spy(levels: Levels, x: np.ndarray, first: int, last: int, bias: None = None) -> np.ndarray:
        runs.append((first, last))
        return run(levels, x, first, last, bias)

    monkeypatch.setattr(Levels, "run", spy)
    model.features(song, 24_000, level=[12, 9, 12])
    assert runs == [(0, 9), (9, 12)]


def test_windows_are_cut_as_ever(model: muqrt.Model, song: np.ndarray) -> None:
    """Overlapping windows, whose frames are computed once, give what the deepest level gives."""
    for window in (2.0, "whole"):
        deepest = model.features(song, 24_000, window=window)
        near(model.features(song, 24_000, window=window, level=12), deepest)
        parts = [x for _, x in model.stream_features(song, 24_000, window=window, level=[12])]
        near(np.concatenate(parts)[:, 0], deepest)


def test_levels_that_are_none(model: muqrt.Model, tiny_bundle: Path, song: np.ndarray) -> None:
    for level in (13, -1, [], [6, 13], True, [True], 6.0, "6", [None]):
        with pytest.raises(UsageError, match="this model has levels 0 to 12"):
            model.features(song, 24_000, level=level)
    with muqrt.load(tiny_bundle) as other, pytest.raises(BundleError, match="--levels"):
        other.features(song, 24_000, level=6)
    with muqrt.load(tiny_bundle) as other, pytest.raises(BundleError, match="ONNX and PyTorch"):
        other.embed(song, 24_000, level=6)
    assert [parsed_level(each) for each in (None, "6", "9-12", "3,6", "0-0")] == [
        *(None, 6, [9, 10, 11, 12], [3, 6], [0]),
    ]
    assert [parsed_level(each) for each in (" 6 ", "6-6", "6 , 7", "9 - 10")] == [
        *(6, [6], [6, 7], [9, 10]),
    ]
    for text in ("0-99999999999", "10000", "3,99999999999"):
        with pytest.raises(UsageError, match="no model has a level"):
            parsed_level(text)
    for text in ("", "a", "9-", "12-9", "-1", "6,"):
        with pytest.raises(UsageError, match="give a level such as 6"):
            parsed_level(text)


def test_the_command(
    muqrt: Command, levels_bundle: Path, music: Path, states: list[np.ndarray], tmp_path: Path
) -> None:
    song = music / "bach_prelude_c.mp3"
    about = ("embed", song, "--bundle", levels_bundle)
    done = muqrt(*about, "--features", "--level", "9-12", "-o", tmp_path / "x.npy", "--json")
    assert done.returncode == 0, done.stderr
    found = np.load(tmp_path / "x.npy")
    assert json.loads(done.stdout)["results"][0]["shape"] == list(found.shape)
    assert found.shape[1:] == (4, states[0].shape[1])
    done = muqrt(*about, "--level", 6, "--json")
    embedding = json.loads(done.stdout)["results"][0]["embedding"]
    assert np.shape(embedding) == (states[0].shape[1],)
    done = muqrt(*about, "--level", "thirteen")
    assert done.returncode == 2 and "give a level such as 6" in done.stderr
    done = muqrt("embed", song, "--server", "localhost:1", "--level", 6)
    assert done.returncode == 2 and "--level needs --bundle: servers have no levels" in done.stderr
    # A folder has one level.
    assert muqrt(*about, "--level", 6, "-o", tmp_path / "folder").returncode == 0
    done = muqrt(*about, "--level", 7, "-o", tmp_path / "folder")
    assert done.returncode == 2, done.stderr


def test_pytorch_has_levels_and_masks(
    levels_bundle: Path, tiny_checkpoint: Path, song: np.ndarray, tmp_path: Path
) -> None:
    loaded = load_bundle(shutil.copytree(levels_bundle, tmp_path / "bundle"))
    short = [each for each in excerpts() if each.seconds < 2]
    add(loaded, TorchRecipe("fp32"), Proof(load_source(tiny_checkpoint), music=short))
    with (
        muqrt.open_bundle(loaded.folder, "onnx-fp32", threads=1) as one,
        muqrt.open_bundle(loaded.folder, "torch-fp32", threads=1, device="cpu") as other,
    ):
        frames = one.parts.front_end.run({"waveform": song[None]})["frames"]
        bias = np.zeros((1, 1, 1, frames.shape[1]), np.float32)
        bias[..., 60:] = -3e4
        for levels in ((0, 12), (3, 3), (2, 7), (11, 12)):
            for masked in (None, bias):
                ours = other.levels.run(frames, *levels, masked)
                near(ours, one.levels.run(frames, *levels, masked))
        unmasked = one.levels.run(frames, 0, 12)
        assert np.abs(one.levels.run(frames, 0, 12, bias) - unmasked)[:, :30].max() > 1e-3
