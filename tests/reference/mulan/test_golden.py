"""Both towers against the official package, whose answers make_mulan_golden.py recorded."""

import json
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from muqrt.reference.mulan.checkpoint import MuLanCheckpoint, load_mulan
from muqrt.reference.mulan.model import MuLan
from muqrt.reference.mulan.random_model import SIZES
from muqrt.runtime.text.tokenizer import TextTokenizer
from muqrt.training.mulan.trainee import decoupled_contrastive_loss

LARGEST_DIFFERENCE = 1e-5  # of any number of an embedding, whose length is one

GOLDEN = Path(__file__).parents[1] / "golden"
CASES = json.loads((GOLDEN / "mulan_cases.json").read_text(encoding="utf-8"))
SHIPPED = Path(__file__).parents[3] / "reference" / "checkpoints" / "muq-mulan-mini"
MODELS = ("mulan_projected", "mulan_plain")
every_model = pytest.mark.parametrize("name", [*MODELS, "muq_mulan_mini"])
every_piece = pytest.mark.parametrize(
    ("name", "case"),
    [*((name, case) for name in MODELS for case in CASES["audio"]), ("muq_mulan_mini", "a clip")],
)


@cache
def load(name: str) -> tuple[MuLanCheckpoint, dict[str, np.ndarray]]:
    checkpoint = SHIPPED if name == "muq_mulan_mini" else GOLDEN / name
    with np.load(GOLDEN / name / "outputs.npz") as outputs:
        return load_mulan(checkpoint), dict(outputs)


def difference(ours: Tensor, theirs: np.ndarray) -> float:
    assert ours.shape == theirs.shape
    return float(np.abs(ours.numpy() - theirs).max())


def batch(recording: Tensor, case: str) -> Tensor:
    starts, samples = CASES["audio"][case].values()
    rows = [np.resize(recording.roll(-start).numpy(), samples) for start in starts]
    return torch.from_numpy(np.stack(rows))


@every_piece
def test_audio(name: str, case: str, recording: Tensor) -> None:
    checkpoint, outputs = load(name)
    ours = checkpoint.model.embed_audio(batch(recording, case))
    assert difference(ours, outputs[f"audio/{case}"]) < LARGEST_DIFFERENCE


@every_model
@pytest.mark.parametrize("case", CASES["texts"])
@torch.no_grad()
def test_texts(name: str, case: str) -> None:
    checkpoint, outputs = load(name)
    ids, mask = (torch.from_numpy(outputs[f"texts/{case}/{part}"]) for part in ("ids", "mask"))
    together = checkpoint.model.text_latents(ids, mask, padding_counts=True)
    assert difference(together, outputs[f"texts/{case}/together"]) < LARGEST_DIFFERENCE
    alone = checkpoint.model.text_latents(ids, mask)
    assert difference(alone, outputs[f"texts/{case}/alone"]) < LARGEST_DIFFERENCE


@pytest.mark.parametrize("name", ["mulan_plain", "muq_mulan_mini"])
@pytest.mark.parametrize("case", CASES["texts"])
def test_tokens(name: str, case: str) -> None:
    checkpoint, outputs = load(name)
    assert checkpoint.tokenizer is not None
    ids, mask = TextTokenizer(checkpoint.tokenizer).encode(CASES["texts"][case])
    np.testing.assert_array_equal(ids, outputs[f"texts/{case}/ids"])
    np.testing.assert_array_equal(mask, outputs[f"texts/{case}/mask"])


def test_the_fixtures_would_show_a_mistake(recording: Tensor) -> None:
    """Padding matters in them, and so does every part that could be left out."""
    checkpoint, outputs = load("mulan_projected")
    case = "texts/of different lengths"
    padding = np.abs(outputs[f"{case}/together"] - outputs[f"{case}/alone"]).max()
    assert padding > 100 * LARGEST_DIFFERENCE
    waveform, theirs = batch(recording, "a clip"), outputs["audio/a clip"]
    for part in ("q_scale", "k_scale", "norm.learned_gamma"):
        parameter = checkpoint.model.mulan.audio.transformer.layers.get_parameter(f"1.0.{part}")
        kept = parameter.clone()
        parameter.data.fill_(1)
        ours = checkpoint.model.embed_audio(waveform)
        parameter.data.copy_(kept)
        assert difference(ours, theirs) > 10 * LARGEST_DIFFERENCE, part


def test_large_has_the_official_names_and_shapes() -> None:
    with torch.device("meta"):
        state = MuLan(*SIZES["large"]).state_dict()
    ours = [f"{name} {tuple(tensor.shape)}" for name, tensor in sorted(state.items())]
    assert ours == (GOLDEN / "official_mulan_large_state_dict.txt").read_text().splitlines()


def test_contrastive_loss() -> None:
    with np.load(GOLDEN / "contrastive.npz") as golden:
        audio, text, temperatures, loss = (
            torch.from_numpy(golden[name]) for name in ("audio", "text", "temperatures", "loss")
        )
    ours = decoupled_contrastive_loss(audio, text, temperatures)
    torch.testing.assert_close(ours, loss.reshape(()), rtol=1e-6, atol=1e-6)
