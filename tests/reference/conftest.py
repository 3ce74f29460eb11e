"""The golden folder, its recording, and small models."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from muqrt.reference.muq import MuQ
from muqrt.reference.random_model import TINY, random_model


def assert_same(one: Any, other: Any) -> None:
    """Two models have one configuration and equal weights."""
    assert one.config == other.config
    theirs = other.state_dict()
    assert one.state_dict().keys() == theirs.keys()
    for name, tensor in one.state_dict().items():
        assert tensor.dtype == theirs[name].dtype, name
        assert torch.equal(tensor, theirs[name]), name


@pytest.fixture(scope="session")
def golden() -> Path:
    """What make_golden.py wrote."""
    return Path(__file__).parent / "golden"


@pytest.fixture(scope="session")
def recording(golden: Path) -> Tensor:
    """(samples,) float: a little over two seconds at 24 kHz."""
    samples = np.load(golden / "waveform.npz")["samples"]
    return torch.from_numpy(samples.astype(np.float32) / 32_768)


@pytest.fixture(scope="session")
def tiny() -> MuQ:
    return random_model(TINY)


@pytest.fixture(scope="session", params=[25, 50])
def shallow(request: pytest.FixtureRequest) -> MuQ:
    """One layer, at each label rate: enough for what depth does not change."""
    return random_model(replace(TINY, label_rate=request.param, encoder_depth=1))


@pytest.fixture(autouse=True)
def seeded() -> None:
    """Tests that draw tensors draw the same each time."""
    torch.manual_seed(0)


def change_weights(folder: Path, change: Callable[[dict[str, Tensor]], object]) -> None:
    """Change the tensors of a checkpoint on disk."""
    state = load_file(folder / "model.safetensors")
    change(state)
    save_file(state, folder / "model.safetensors")
