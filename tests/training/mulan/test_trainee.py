"""``muqrt train mulan`` at toy size: it learns which text describes which music, an interruption
changes nothing, and what makes no sense is refused."""

import dataclasses
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import numpy as np
import pytest
import soundfile
import torch
from safetensors.torch import load_file

from muqrt.common.words import LearnedWords
from muqrt.reference.checkpoint import load_checkpoint, save_checkpoint
from muqrt.reference.config import MuQConfig
from muqrt.reference.mulan.checkpoint import load_mulan, save_mulan
from muqrt.reference.mulan.random_model import random_mulan
from muqrt.reference.random_model import random_model
from muqrt.training.data.caption_tokens import CAPTION_TOKENS, CaptionTokenizer
from muqrt.training.mulan.trainee import Contrastive, Shape, initial_mulan

RATE_HZ = 24_000
SECONDS = 0.6
TOWER = {"dim": 16, "tf_depth": 1, "heads": 2, "dim_head": 8}
TEXT = {"text_width": 16, "text_layers": 1, "text_heads": 2, "text_dropout": 0.0}
SHAPE = Shape(dim_latent=16, **TOWER, **TEXT, vocabulary=200)
COLOURS = {"red": "红色", "blue": "蓝色", "green": "绿色", "white": "白色"}
OPTIONS = ("--batch-size", 4, "--crop-seconds", SECONDS, "--warmup-steps", 3, "--workers", 0)
OPTIONS += ("--accelerator", "cpu", "--learning-rate", 0.003)
Command = Callable[..., CompletedProcess[str]]


@pytest.fixture(scope="module")
def muq(shallow: MuQConfig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("muq") / "checkpoint"
    save_checkpoint(random_model(shallow), folder)
    return folder


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four songs that sound and are called differently, and a file that is none."""
    folder, lines = tmp_path_factory.mktemp("colours"), []
    time = np.arange(RATE_HZ) / RATE_HZ
    for index, (english, chinese) in enumerate(COLOURS.items()):
        soundfile.write(
            folder / f"{english}.wav", 0.3 * np.sin(2 * np.pi * 150 * 3**index * time), RATE_HZ
        )
        captions = [f"a {english} song", f"一首{chinese}的歌"]
        lines.append({"audio": f"{english}.wav", "song": english, "captions": captions})
    (folder / "broken.wav").write_bytes(b"RIFF and nothing")
    lines.append({"audio": "broken.wav", "captions": ["nothing"]})
    (folder / "manifest.jsonl").write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    (folder / "shape.json").write_text(json.dumps(dataclasses.asdict(SHAPE)))
    return folder


@pytest.fixture
def train(muqrt: Command, corpus: Path, muq: Path) -> Command:
    """The command, on the colours."""

    def run(folder: Path, *options: object) -> CompletedProcess[str]:
        towers = ("--muq", muq, "--size", corpus / "shape.json")
        return muqrt("train", "mulan", corpus, "-o", folder, *towers, *OPTIONS, *options)

    return run


def state(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "checkpoint" / "model.safetensors")


def losses(folder: Path) -> list[float]:
    history = json.loads((folder / "state" / "progress.json").read_text())["history"]
    return [row["loss"] for row in history]


@pytest.mark.parametrize("freeze", [(), ("--freeze-audio",)])
def test_it_learns_which_text_describes_which_music(
    freeze: tuple[str, ...], train: Command, corpus: Path, muq: Path, tmp_path: Path
) -> None:
    done = train(tmp_path / "run", "--steps", 60, "--json", *freeze)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["last"]["loss"] < report["first"]["loss"] - 0.5
    assert report["valid"]["matched"] == 1.0
    assert report["skipped"] == 1
    words = LearnedWords.read(tmp_path / "run" / "checkpoint" / "xlm-roberta" / "words.txt")
    assert words.unlearned([f"a {name} song" for name in COLOURS]) == ()
    assert words.unlearned(["a mauve song", "紫的歌"]) == ("mauve", "紫")
    loaded = load_mulan(tmp_path / "run" / "checkpoint")
    assert loaded.tokenizer is not None
    tokenizer = CaptionTokenizer(loaded.tokenizer)
    samples = [soundfile.read(corpus / f"{name}.wav", dtype="float32")[0] for name in COLOURS]
    crops = torch.from_numpy(np.stack(samples)[:, : int(SECONDS * RATE_HZ)])
    with torch.no_grad():
        music = loaded.model.audio_latents(crops)
        for form, words in (("a {} song", COLOURS), ("一首{}的歌", COLOURS.values())):
            encoded = [tokenizer.encode(form.format(word)) for word in words]
            ids, mask = (torch.stack(column) for column in zip(*encoded, strict=True))
            cosines = music @ loaded.model.text_latents(ids, mask).T
            assert cosines.argmax(1).tolist() == [0, 1, 2, 3]
            assert cosines.diagonal().min() > cosines[~torch.eye(4, dtype=torch.bool)].max()
    assert float(loaded.model.mulan.contrast.temperatures.detach()) != np.log(10).astype("float32")
    before, after = load_checkpoint(muq).model.state_dict(), loaded.model.mulan.audio.model
    same = [torch.equal(before[name], tensor) for name, tensor in after.state_dict().items()]
    assert all(same) == bool(freeze)


@pytest.mark.parametrize("freeze", [(), ("--freeze-audio",)])
def test_an_interruption_costs_nothing_but_time(
    freeze: tuple[str, ...], train: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from muqrt.training.loop.run import Run

    whole, cut = tmp_path / "whole", tmp_path / "cut"
    options = ("--steps", 6, "--save-every-steps", 2, *freeze)
    assert train(whole, *options).returncode == 0
    save, saved = Run.save_state, []

    def save_and_die(run: Run, state: object) -> None:
        save(run, state)
        saved.append(state)
        if len(saved) == 2:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Run, "save_state", save_and_die)
        assert train(cut, *options).returncode != 0
    assert not (cut / "checkpoint").exists()
    fitted = (cut / "tokenizer.json").read_bytes()
    assert train(cut, *options).returncode == 0
    assert (cut / "tokenizer.json").read_bytes() == fitted
    ours, expected = state(cut), state(whole)
    assert all(torch.equal(ours[name], expected[name]) for name in expected)


def test_a_text_tower_is_taken_over(train: Command, mulan_checkpoint: Path, tmp_path: Path) -> None:
    options = ("--text", mulan_checkpoint, "--steps", 2)
    assert train(tmp_path / "run", *options, "--freeze-text").returncode == 0
    begun, ended = load_mulan(mulan_checkpoint), load_mulan(tmp_path / "run" / "checkpoint")
    assert ended.tokenizer is not None and begun.tokenizer is not None
    assert ended.tokenizer.read_bytes() == begun.tokenizer.read_bytes()
    assert ended.words is None  # that of a text tower which does not say what it learned
    frozen, trained = ended.model.mulan.text.model, ended.model.mulan.text.transformer
    for name, tensor in begun.model.mulan.text.model.state_dict().items():
        assert torch.equal(frozen.state_dict()[name], tensor)
    moved = [
        torch.allclose(trained.state_dict()[name], tensor, atol=0.1)
        and not torch.equal(trained.state_dict()[name], tensor)
        for name, tensor in begun.model.mulan.text.transformer.state_dict().items()
    ]
    assert all(moved)


@pytest.mark.parametrize(("level", "freeze"), [(-1, False), (1, False), (1, True)])
def test_every_trained_weight_gets_a_gradient(level: int, freeze: bool, shallow: MuQConfig) -> None:
    mulan = initial_mulan(SHAPE, random_model(shallow), level, None, 50, seed=0)
    trainee = Contrastive(mulan, freeze_audio=freeze).train()
    heard = torch.randn(3, 15, 32) if freeze else 0.1 * torch.randn(3, 14_400)
    ids = torch.randint(4, 50, (3, CAPTION_TOKENS))
    mask = (torch.arange(CAPTION_TOKENS) < torch.tensor([[5], [9], [3]])).long()
    loss, figures = trainee(heard, ids.where(mask.bool(), torch.tensor(1)), mask)
    loss.backward()
    missing = [n for n, p in trainee.named_parameters() if p.requires_grad and p.grad is None]
    assert missing == []
    assert float(figures["temperature"]) == pytest.approx(10)
    assert trainee.mulan.mulan.audio.model.training is not freeze
    trained = {n for n, p in trainee.named_parameters() if p.requires_grad}
    assert any(".audio.model." in name for name in trained) is not freeze


def test_a_frozen_muqs_states_give_the_embeddings_of_the_waveform(shallow: MuQConfig) -> None:
    mulan = initial_mulan(SHAPE, random_model(shallow), 1, None, 50, seed=0).eval()
    waveform = 0.1 * torch.randn(2, 14_400)
    with torch.no_grad():
        states = mulan.mulan.audio.model(waveform).hidden_states[1]
        ids = torch.randint(4, 50, (2, 6))
        found = [
            Contrastive(mulan, freeze).eval()(heard, ids, torch.ones_like(ids))[0]
            for freeze, heard in ((False, waveform), (True, states))
        ]
    torch.testing.assert_close(*found)


@pytest.mark.full
def test_words_are_added_to_those_of_the_text_tower(
    train: Command, mulan_checkpoint: Path, tmp_path: Path
) -> None:
    text = shutil.copytree(mulan_checkpoint, tmp_path / "text")
    (tokenizer,) = text.rglob("tokenizer.json")
    tokenizer.with_name("words.txt").write_text("mauve\n")
    assert train(tmp_path / "run", "--text", text, "--steps", 2).returncode == 0
    ended = load_mulan(tmp_path / "run" / "checkpoint")
    assert ended.words is not None
    assert LearnedWords.read(ended.words).unlearned(["mauve", next(iter(COLOURS)), "x"]) == ("x",)
    tokenizer.with_name("words.txt").write_bytes(b"\xff")
    done = train(tmp_path / "again", "--text", text, "--steps", 2)
    assert done.returncode == 3 and "not a readable list of words" in done.stderr


def test_compacting_halves_it(mulan_checkpoint: Path, muqrt: Command, tmp_path: Path) -> None:
    mulan_checkpoint = shutil.copytree(mulan_checkpoint, tmp_path / "whole")
    (tokenizer,) = mulan_checkpoint.rglob("tokenizer.json")
    tokenizer.with_name("words.txt").write_text("jazz\n")
    done = muqrt("train", "compact", mulan_checkpoint, "-o", tmp_path / "half", "--json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    whole, half = load_mulan(mulan_checkpoint), load_mulan(tmp_path / "half")
    size_bytes = (mulan_checkpoint / "model.safetensors").stat().st_size
    assert report["parameters"] == whole.parameters
    assert report["bytes"] < 0.6 * size_bytes
    assert half.tokenizer is not None and whole.tokenizer is not None
    assert half.tokenizer.read_bytes() == whole.tokenizer.read_bytes()
    assert half.words is not None and half.words.read_text() == "jazz\n"
    for name, tensor in whole.model.state_dict().items():
        torch.testing.assert_close(half.model.state_dict()[name], tensor, rtol=1e-3, atol=1e-6)


def test_refusals(
    train: Command, corpus: Path, muq: Path, muqrt: Command, tmp_path: Path, mulan_checkpoint: Path
) -> None:
    speechless = tmp_path / "speechless"
    save_mulan(random_mulan("tiny"), speechless)
    foreign = tmp_path / "foreign"
    tokenizer = json.loads(next(mulan_checkpoint.rglob("tokenizer.json")).read_text())
    vocabulary = [*tokenizer["model"]["vocab"], *([f"word{i}", -9.0] for i in range(400))]
    tokenizer["model"]["vocab"] = vocabulary
    (tmp_path / "tokenizer.json").write_text(json.dumps(tokenizer))
    save_mulan(random_mulan("tiny"), foreign, tmp_path / "tokenizer.json")
    refused = {
        ("--freeze-text",): (2, "give --text too"),
        ("--level", 7): (2, "has levels 0 to 2"),
        ("--batch-size", 5): (2, "there are 4 songs"),
        ("--batch-size", 1): (2, "needs two pairs or more"),
        ("--size", tmp_path / "none.json"): (3, "none.json"),
        ("--text", speechless): (2, "no tokenizer.json"),
        ("--text", foreign): (3, "the text encoder only 400"),
        ("--text", muq): (3, "config"),
    }
    for number, (options, (code, message)) in enumerate(refused.items()):
        done = train(tmp_path / str(number), "--steps", 2, *options)
        assert (done.returncode, done.stderr.count("\n")) == (code, 1), options
        assert message in done.stderr, options
    folder = ("train", "mulan", corpus, "-o", tmp_path / "run", *OPTIONS)
    done = muqrt(*folder, "--muq", tmp_path / "none")
    assert done.returncode == 3
    assert "no such folder" in done.stderr


@pytest.mark.slow
def test_two_processes_train_as_one_does(
    train: Command, corpus: Path, muq: Path, tmp_path: Path
) -> None:
    """Each has half of the pairs and compares them with all."""
    options = ("--freeze-audio", "--steps", 12)
    assert train(tmp_path / "one", *options).returncode == 0
    arguments = ("train", "mulan", corpus, "-o", tmp_path / "two", "--muq", muq, *OPTIONS, *options)
    arguments += ("--size", corpus / "shape.json", "--devices", 2)
    command = [sys.executable, "-m", "muqrt", *map(str, arguments)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    assert losses(tmp_path / "two") == pytest.approx(losses(tmp_path / "one"), abs=1e-4)
