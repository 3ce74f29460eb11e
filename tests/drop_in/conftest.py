"""Models of the golden fixtures, exported once for all tests of a process."""

import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from muqrt.drop_in import MuQ, MuQMuLan
from muqrt.export.parity.excerpt import Excerpt

GOLDEN = Path(__file__).parents[1] / "reference" / "golden"
CHECKPOINTS = Path(__file__).parents[2] / "reference" / "checkpoints"
SHIPPED = {
    "muq_mini": CHECKPOINTS / "muq-mini",
    "muq_mulan_mini": CHECKPOINTS / "muq-mulan-mini",
}


def checkpoint_of(name: str) -> Path:
    """The checkpoint that the official package's answers ``name`` are of."""
    return SHIPPED.get(name, GOLDEN / name)


def answers(name: str) -> dict[str, np.ndarray]:
    """What the official package answered."""
    with np.load(GOLDEN / name / "outputs.npz") as outputs:
        return dict(outputs)


def cases(name: str) -> dict:
    """The fixtures' cases in a file."""
    return json.loads((GOLDEN / name).read_text(encoding="utf-8"))


@pytest.fixture(scope="session")
def cache_of_all(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where this process's tests keep what they export."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module", autouse=True)
def exports(cache_of_all: Path) -> Iterator[Path]:
    """The cache of these tests alone.

    Exports are proven on the fixtures' recording, two seconds long: random weights make more of
    rounding on music with empty bands than the gate allows.
    """
    samples = np.load(GOLDEN / "waveform.npz")["samples"]
    music = [Excerpt("recording", samples[None].astype(np.float32) / 32_768)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MUQRT_CACHE", str(cache_of_all))
        patch.setattr("muqrt.drop_in.backing.excerpts", lambda: music)
        yield cache_of_all


@cache
def muq(name: str) -> MuQ:
    """The drop-in on a golden MuQ."""
    return MuQ.from_pretrained(checkpoint_of(name), threads=1)


@cache
def mulan(name: str) -> MuQMuLan:
    """The drop-in on a golden MuQ-MuLan."""
    return MuQMuLan.from_pretrained(checkpoint_of(name), threads=1)


@pytest.fixture(scope="session")
def recording() -> Tensor:
    """(samples,) float: a little over two seconds at 24 kHz."""
    samples = np.load(GOLDEN / "waveform.npz")["samples"]
    return torch.from_numpy(samples.astype(np.float32) / 32_768)


@pytest.fixture(scope="module")  # no wider than the cache's, which would come after it
def model() -> MuQ:
    """A MuQ of 12 layers."""
    return muq("label_rate_25")


@pytest.fixture(scope="module")
def joint() -> MuQMuLan:
    """A MuQ-MuLan."""
    return mulan("mulan_plain")
