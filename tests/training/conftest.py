"""A corpus that a tiny model can learn in seconds: chords that change on the beat."""

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from muqrt.reference.config import MuQConfig
from muqrt.reference.random_model import TINY

RATE_HZ = 24_000


def chords(seed: int, seconds: float) -> np.ndarray:
    """A different chord of three partials every half second, (samples,) float32."""
    random = np.random.default_rng(seed)
    time = np.arange(RATE_HZ // 2) / RATE_HZ
    beats = []
    for _ in range(round(seconds * 2)):
        root_hz = 110 * 2 ** (random.integers(12) / 12)
        waves = [np.sin(2 * np.pi * root_hz * ratio * time) for ratio in (1, 1.25, 1.5)]
        beats.append(np.sum(waves, 0) * np.exp(-3 * time) * 0.2)
    return np.concatenate(beats).astype(np.float32)


@pytest.fixture(scope="session")
def chord_corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight tracks in a folder with a manifest, two of them for validation."""
    folder = tmp_path_factory.mktemp("chords")
    lines = []
    for index in range(8):
        name = f"{index}.wav"
        soundfile.write(folder / name, chords(index, 6 + index), RATE_HZ)
        lines.append(
            {"audio": name, "song": str(index), "split": "valid" if index > 5 else "train"}
        )
    (folder / "manifest.jsonl").write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    return folder


@pytest.fixture(scope="session")
def shallow() -> MuQConfig:
    """TINY, two layers deep, without dropout."""
    without = {name: 0.0 for name in TINY.w2v2_config if name.endswith("dropout")}
    w2v2_config = {**TINY.w2v2_config, **without}
    return dataclasses.replace(TINY, encoder_depth=2, w2v2_config=w2v2_config)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Models this small only wait for each other's threads."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(autouse=True)
def seeded() -> None:
    """Tests that draw tensors draw the same each time."""
    torch.manual_seed(0)
