from collections.abc import Callable

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch

from muqrt.export.parity.excerpt import Excerpt, excerpts
from muqrt.reference.muq import MuQ
from muqrt.reference.random_model import TINY, random_model


@pytest.fixture(scope="session")
def tiny() -> MuQ:
    return random_model(TINY)


@pytest.fixture(scope="session")
def all_excerpts() -> list[Excerpt]:
    return excerpts()


@pytest.fixture(scope="session")
def short_music(all_excerpts: list[Excerpt]) -> list[Excerpt]:
    """Those that a tiny model runs in no time, the batch included."""
    return [each for each in all_excerpts if each.seconds < 6]


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def runner() -> Callable[[onnx.ModelProto], Callable[..., np.ndarray]]:
    """A checked graph as a function from its inputs, by name, to its latents."""

    def open_graph(model: onnx.ModelProto) -> Callable[..., np.ndarray]:
        onnx.checker.check_model(model, full_check=True)
        session = ort.InferenceSession(
            model.SerializeToString(), providers=["CPUExecutionProvider"]
        )
        return lambda **inputs: session.run(["latents"], inputs)[0]

    return open_graph
