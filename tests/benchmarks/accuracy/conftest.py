"""A corpus of tones with every label, and a bundle that gives all hidden states."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from muqrt.export.bundle_from_checkpoint import bundle_from_checkpoint
from muqrt.export.parity.excerpt import excerpts
from muqrt.export.parity.proof import Proof
from muqrt.reference.checkpoint import load_checkpoint
from muqrt.training.probe import fit

from ...training.conftest import one_thread as one_thread  # a fixture for every test here

RATE_HZ = 24_000
TRACKS = {"train": 14, "valid": 4, "test": 8}
HZ = {"high": 3000, "low": 200}


def tone(name: str, seconds: float, seed: int) -> np.ndarray:
    """(samples,) float64 at 24 kHz, hardly noisy."""
    time = np.arange(round(seconds * RATE_HZ)) / RATE_HZ
    noise = np.random.default_rng(seed).normal(size=len(time))
    return 0.3 * np.sin(2 * np.pi * HZ[name] * time) + 0.003 * noise


def rows() -> Iterator[tuple[dict[str, Any], np.ndarray]]:
    random = np.random.default_rng(0)
    for split, count in TRACKS.items():
        for index in range(count):
            name, other = ("high", "low") if index % 2 else ("low", "high")
            loud = float(random.uniform(0.1, 1))
            parts = [tone(other, 1.5, index), tone(name, 1.5, index + 100)]
            key = "C major" if index % 2 else "A minor"
            labels: dict[str, Any] = {"genre": name, "singer": name, "technique": name, "key": key}
            labels |= {"instrument": name, "pitch": 100 if index % 2 else 40, "tags": [name]}
            labels |= {"valence": loud - 1, "arousal": -loud}
            labels["sections"] = [[0, 1.5, other], [1.5, 3, name]]
            labels["captions"] = [f"ends {name}", f"song {index}"]
            audio = f"{split}-{index}.wav"
            yield {"audio": audio, "split": split, **labels}, loud * np.concatenate(parts)


@pytest.fixture(scope="session")
def labelled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A manifest. Do not change it."""
    folder = tmp_path_factory.mktemp("labelled")
    lines = []
    for row, samples in rows():
        soundfile.write(folder / row["audio"], samples, RATE_HZ)
        lines.append(json.dumps(row))
    (folder / "manifest.jsonl").write_text("\n".join(lines), encoding="utf-8")
    return folder / "manifest.jsonl"


@pytest.fixture(scope="session")
def levels_bundle(tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a tiny bundle with hidden states. Do not change its files."""
    folder = tmp_path_factory.mktemp("levels") / "all-levels"
    short = [each for each in excerpts() if each.seconds < 2]
    proof = Proof(load_checkpoint(tiny_checkpoint), music=short)
    bundle_from_checkpoint(proof, folder, ["hidden_states"])
    return folder


@pytest.fixture(autouse=True, scope="module")
def one_recipe() -> Iterator[None]:
    """Choosing among several is tested where heads are fitted."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fit, "_RECIPES", fit._RECIPES[:1])
        yield
