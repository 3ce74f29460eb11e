"""Who is measured: the PyTorch reference, torch.compile of it, and a bundle's artefacts.

torch and onnxruntime are imported where they are used, because a fresh process that measures one
of them must not pay for the other.
"""

import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..runtime.bundle import Artefact, Bundle
from ..runtime.certificate import Precision

if TYPE_CHECKING:
    from ..reference.muq import MuQ

EAGER = "PyTorch eager"
COMPILED = "torch.compile"

States = Sequence[np.ndarray]


@dataclass(frozen=True)
class Contender:
    """One way of running the model.

    Attributes:
        name: what tables call it.
        precision: whose thresholds its answers are held to.
        run: (batch, samples) float32 at 24 kHz -> arrays, the last of which is compared.
        expected: the array that ``run`` should end with, from the reference's hidden states.
        optional: whether the benchmark goes on without it when it fails to start.
    """

    name: str
    precision: Precision
    run: Callable[[np.ndarray], States]
    expected: Callable[[States], np.ndarray]
    optional: bool = False


def eager(model: "MuQ", threads: int) -> Contender:
    """The fp32 reference as the official package runs it."""
    import torch

    torch.set_num_threads(threads)

    def run(waveform: np.ndarray) -> States:
        with torch.inference_mode():
            return [state.numpy() for state in model(torch.from_numpy(waveform)).hidden_states]

    return Contender(EAGER, "fp32", run, lambda states: states[-1])


def compiled(model: "MuQ", threads: int) -> Contender:
    """``torch.compile`` of the reference, compiled anew for every shape."""
    import torch

    torch.set_num_threads(threads)
    fast = torch.compile(model, dynamic=False)
    compiled_for: tuple[int, ...] | None = None

    def run(waveform: np.ndarray) -> States:
        nonlocal compiled_for
        if waveform.shape != compiled_for:
            # After a few shapes torch.compile would give up and silently run eager.
            torch.compiler.reset()
            compiled_for = waveform.shape
        with torch.inference_mode():
            return [state.numpy() for state in fast(torch.from_numpy(waveform)).hidden_states]

    return Contender(COMPILED, "fp32", run, lambda states: states[-1], optional=True)


def from_artefact(bundle: Bundle, artefact: Artefact, threads: int) -> Contender:
    """A bundle's artefact through its session.

    It computes the features, or the artefact's first output when it has none.
    """
    from ..runtime.onnx_session import OnnxSession

    session = OnnxSession(bundle, artefact, threads)
    output = "features" if "features" in session.outputs else next(iter(session.outputs))

    def run(waveform: np.ndarray) -> States:
        return list(session.run({"waveform": waveform}, [output]).values())

    def expected(states: States) -> np.ndarray:
        deepest = states[artefact.level]
        if output == "hidden_states":
            return np.stack(states[: artefact.level + 1], axis=1)
        return deepest if output == "features" else deepest.mean(axis=1)

    return Contender(artefact.name, artefact.precision, run, expected)


@contextmanager
def cold_compiler() -> Iterator[None]:
    """Keep torch.compile from finding what an earlier run compiled: its time would look short."""
    variable = "TORCHINDUCTOR_CACHE_DIR"
    before = os.environ.get(variable)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        os.environ[variable] = folder
        try:
            yield
        finally:
            del os.environ[variable]
            if before is not None:
                os.environ[variable] = before
