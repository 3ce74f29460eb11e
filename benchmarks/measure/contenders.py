"""The contenders: the PyTorch reference, torch.compile of it, its plain ONNX graph, and a bundle's
artefacts.

torch and onnxruntime are imported where they are used, because a fresh process that measures one
of them must not pay for the other.
"""

import os
import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ...runtime.bundle.certificate import Precision
from ...runtime.bundle.manifest import Artefact, Bundle
from .timing import EAGER

if TYPE_CHECKING:
    import onnxruntime as ort
    import torch

    from ...reference.muq import MuQ
    from ...runtime.engines.session import Session
    from ...runtime.streaming.stream import SlidingConfig
    from .agreement import Agreement

COMPILED = "torch.compile"
COMPILED_BF16 = "torch.compile bf16"
PLAIN_ONNX = "plain ONNX graph"

States = Sequence[np.ndarray]


@dataclass(frozen=True)
class Contender:
    """One way of running the model.

    Attributes:
        name: its name in tables.
        precision: whose thresholds its answers are held to.
        run: (batch, samples) float32 at 24 kHz -> arrays, the last of which is compared.
        expected: the array that ``run`` should end with, from the reference's hidden states.
        optional: go on without it when it fails to start, and report it, marked, when its error
            is larger than its precision's thresholds.
    """

    name: str
    precision: Precision
    run: Callable[[np.ndarray], States]
    expected: Callable[[States], np.ndarray]
    optional: bool = False

    def check(
        self, what: str, answer: States, states: States, allow_uncertified: bool = False
    ) -> "Agreement":
        """Compare what ``run`` returned with the reference's hidden states of the same input.

        A wrong answer raises ParityError, which names the input as ``what``, unless the contender
        is optional or ``allow_uncertified``.
        """
        from .agreement import agreement

        return agreement(
            f"{self.name} on {what}",
            self.precision,
            answer[-1],
            self.expected(states),
            tolerated=self.optional or allow_uncertified,
            hint=", or add --allow-uncertified",
        )


def hidden_states(model: "MuQ", waveform: np.ndarray) -> States:
    """The reference's hidden states, each (batch, steps, width) float32, computed on the device
    where its weights are."""
    import torch

    with torch.inference_mode():
        given = torch.from_numpy(waveform).to(_device(model))
        return [state.cpu().numpy() for state in model(given).hidden_states]


def eager(model: "MuQ", threads: int) -> Contender:
    """The fp32 reference as the official package runs it, on the device where its weights are."""
    import torch

    torch.set_num_threads(threads)

    def run(waveform: np.ndarray) -> States:
        with torch.inference_mode():
            given = torch.from_numpy(waveform).to(_device(model))
            return [model(given).hidden_states[-1].cpu().numpy()]

    return Contender(EAGER, "fp32", run, lambda states: states[-1])


def compiled(model: "MuQ", threads: int, precision: Precision = "fp32") -> Contender:
    """``torch.compile`` of the reference, in fp32 or in bf16 by autocast.

    It compiles for one shape: call ``torch.compiler.reset`` before another. After a few shapes
    torch.compile would give up and silently run eager.
    """
    import torch

    torch.set_num_threads(threads)
    fast = torch.compile(model, dynamic=False)
    lossy = precision == "bf16"

    def run(waveform: np.ndarray) -> States:
        device = _device(model)
        with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16, enabled=lossy):
            states = fast(torch.from_numpy(waveform).to(device)).hidden_states
            return [states[-1].float().cpu().numpy()]

    name = COMPILED_BF16 if lossy else COMPILED
    return Contender(name, precision, run, lambda states: states[-1], optional=True)


def plain_onnx(path: Path, level: int, threads: int, device: str = "cpu") -> Contender:
    """A graph with plain convolutions, in a session with ONNX Runtime's defaults.

    Args:
        path: a graph with the output ``features``.
        level: which hidden state the features are.
        threads: CPU threads of the session.
        device: "cpu" or "cuda".
    """
    session = onnx_session(path, threads, device=device)

    def run(waveform: np.ndarray) -> States:
        return list(session.run(["features"], {"waveform": waveform}))

    return Contender(PLAIN_ONNX, "fp32", run, lambda states: states[level])


def onnx_session(
    model: Path | bytes, threads: int, profile: Path | None = None, device: str = "cpu"
) -> "ort.InferenceSession":
    """An ONNX Runtime session with all defaults but the threads.

    Args:
        model: a file, or a whole model's bytes.
        threads: CPU threads within an operator.
        profile: beginning of the path to write a profile to; none when left out.
        device: "cpu" or "cuda".
    """
    import onnxruntime as ort

    from ...runtime.engines.onnxruntime.providers import PROVIDERS

    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = threads
    if profile is not None:
        options.enable_profiling = True
        options.profile_file_prefix = str(profile)
    given = model if isinstance(model, bytes) else str(model)
    return ort.InferenceSession(given, options, providers=[PROVIDERS[device]])


def from_artefact(
    bundle: Bundle, artefact: Artefact, threads: int, device: str = "cpu"
) -> Contender:
    """A bundle's artefact in its session, on "cpu" or "cuda".

    It computes the features, or the artefact's first output when it has no features.
    """
    from ...runtime.engines.open_session import open_session

    session = open_session(bundle, artefact, threads, device)
    output = _output(session)
    # An engine is loaded when it is first run.
    shapes = artefact.shapes
    shortest = shapes.profiles[0].waveforms[0] if shapes else (1, bundle.framing.minimum_samples)
    session.run({"waveform": np.zeros(shortest, np.float32)}, [output])

    def run(waveform: np.ndarray) -> States:
        return list(session.run({"waveform": waveform}, [output]).values())

    return Contender(artefact.name, artefact.precision, run, _expected(artefact, output))


def live_stream(
    bundle: Bundle, artefact: Artefact, threads: int, sliding: "SlidingConfig"
) -> Contender:
    """One live stream on an artefact: ``run`` takes its next chunk, (1, samples), and returns the
    answer for each window that ends there, none at first."""
    from ...runtime.engines.open_session import open_session
    from ...runtime.streaming.engine import Streaming

    session = open_session(bundle, artefact, threads)
    output = _output(session)
    streaming = Streaming(session, sliding, [output])
    stream = streaming.open()

    def run(chunk: np.ndarray) -> States:
        return [hop.outputs[output][None] for hop in streaming.push(stream, chunk)]

    return Contender(artefact.name, artefact.precision, run, _expected(artefact, output))


def _device(model: "MuQ") -> "torch.device":
    return next(model.parameters()).device


def _output(session: "Session") -> str:
    """The output that is compared."""
    return "features" if "features" in session.outputs else next(iter(session.outputs))


def _expected(artefact: Artefact, output: str) -> Callable[[States], np.ndarray]:
    """Computes what the output should be from the reference's hidden states."""

    def expected(states: States) -> np.ndarray:
        deepest = states[artefact.level]
        if output == "hidden_states":
            return np.stack(states[: artefact.level + 1], axis=1)
        return deepest if output == "features" else deepest.mean(axis=1)

    return expected


@contextmanager
def cold_compiler() -> Iterator[None]:
    """Keep torch.compile from finding what an earlier run compiled: its time would look short.

    Its warning that the mel's complex numbers are not compiled is known, and kept quiet.
    """
    variable = "TORCHINDUCTOR_CACHE_DIR"
    before = os.environ.get(variable)
    with (
        tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder,
        warnings.catch_warnings(),
    ):
        warnings.filterwarnings("ignore", "Torchinductor does not support code generation for")
        os.environ[variable] = folder
        try:
            yield
        finally:
            del os.environ[variable]
            if before is not None:
                os.environ[variable] = before
