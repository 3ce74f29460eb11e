"""PyTorch answers as ONNX Runtime does, for any length, and says so when it cannot."""

import builtins
import shutil
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from muqrt.errors import MissingDependencyError, SessionError
from muqrt.runtime.bundle.manifest import Bundle, load_bundle
from muqrt.runtime.engines.pytorch.session import TorchSession
from muqrt.runtime.engines.session import Session
from muqrt.runtime.streaming.engine import Streaming
from muqrt.runtime.streaming.stream import SlidingConfig

from ...streaming.streamed import OUTPUTS, RATE_HZ, assert_same, offline, song, stream_whole

torch = pytest.importorskip("torch", reason="pip install 'muqrt[torch]'")

LONGEST_SAMPLES = 50_000
FILE = "muq-torch-fp32.safetensors"


def opened(bundle: Bundle, device: str | None = "cpu", **changes: str) -> TorchSession:
    artefact = bundle.artefact("torch-fp32", allow_uncertified=True)
    return TorchSession(bundle, artefact.model_copy(update=changes), threads=1, device=device)


@pytest.fixture(scope="module")
def session(torch_folder: Path) -> Iterator[TorchSession]:
    with opened(load_bundle(torch_folder)) as session:
        yield session


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).uniform(-0.5, 0.5, shape).astype(np.float32)


@pytest.mark.filterwarnings("error")
def test_arrays_that_pytorch_cannot_share(session: Session) -> None:
    waveform = noise(2, 9_999)
    expected = session.run({"waveform": waveform}, ["tokens", "features"])
    assert list(expected) == ["tokens", "features"]
    strided = waveform.T.copy().T
    read_only = waveform.copy()
    read_only.flags.writeable = False
    for array in (strided, read_only):
        found = session.run({"waveform": array}, ["features"])
        np.testing.assert_array_equal(found["features"], expected["features"])


def test_an_array_of_another_library_is_read_where_it_is(session: Session) -> None:
    waveform = noise(1, 9_999)

    class Elsewhere:  # as CuPy's: numpy's dtype and shape, but no numpy array
        dtype, ndim, shape = waveform.dtype, waveform.ndim, waveform.shape

        def __dlpack__(self, **options: Any) -> Any:
            return waveform.__dlpack__(**options)

        def __dlpack_device__(self) -> tuple[int, int]:
            return waveform.__dlpack_device__()

    found = session.run({"waveform": Elsewhere()}, ["features"])["features"]
    expected = session.run({"waveform": waveform}, ["features"])["features"]
    np.testing.assert_array_equal(found, expected)


def test_tokens_need_no_encoder(session: TorchSession, monkeypatch: pytest.MonkeyPatch) -> None:
    from muqrt.runtime.engines.pytorch.encoder import Encoder

    calls: list[int] = []
    forward = Encoder.forward

    def counted(self: Encoder, frames: Any, level: int) -> Any:
        calls.append(level)
        return forward(self, frames, level)

    monkeypatch.setattr(Encoder, "forward", counted)
    waveform = {"waveform": noise(1, 24_000)}
    alone = session.run(waveform, ["tokens"])
    assert calls == []
    both = session.run(waveform)
    np.testing.assert_array_equal(alone["tokens"], both["tokens"])
    assert session.parts is not None
    session.parts.front_end.run(waveform)
    assert calls == [12, 0]


def test_streamed_equals_offline(
    tagged_bundle: Path, tiny_checkpoint: Path, tiny_head: Path, tmp_path: Path
) -> None:
    from muqrt.export.bundle.recipe import add
    from muqrt.export.engines.pytorch import TorchRecipe
    from muqrt.export.parity.proof import Proof
    from muqrt.export.sources.head import load_tag_head
    from muqrt.reference.checkpoint import load_checkpoint

    bundle = load_bundle(shutil.copytree(tagged_bundle, tmp_path / "bundle"))
    checkpoint, head = load_checkpoint(tiny_checkpoint), load_tag_head(tiny_head)
    artefact = add(bundle, TorchRecipe("fp32"), Proof(checkpoint, head))
    with TorchSession(bundle, artefact, threads=1, device="cpu") as session:
        sliding = SlidingConfig.every(session.framing, session.tagging, hop_seconds=0.7)
        mono = song(RATE_HZ)
        hops = stream_whole(Streaming(session, sliding, OUTPUTS), mono, RATE_HZ, [1_000, 9_999])
        assert_same(hops, offline(session, sliding, mono))


def test_the_encoder_is_compiled_when_asked_to(
    torch_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiled: list[str] = []
    monkeypatch.setattr(
        torch.nn.Module, "compile", lambda module: compiled.append(type(module).__name__)
    )
    bundle = load_bundle(torch_folder)
    artefact = bundle.artefact("torch-fp32", allow_uncertified=True)
    for compile_ in (False, True):
        TorchSession(bundle, artefact, device="cpu", compile=compile_).close()
    assert compiled == ["Encoder"]


def test_two_sessions_keep_their_own_threads(torch_folder: Path) -> None:
    bundle = load_bundle(torch_folder)
    artefact = bundle.artefact("torch-fp32", allow_uncertified=True)
    before = torch.get_num_threads()
    try:
        one, two = (TorchSession(bundle, artefact, threads, "cpu") for threads in (1, 2))
        for session, threads in ((one, 1), (two, 2), (one, 1)):
            session.run({"waveform": noise(1, 2_000)}, ["tokens"])
            assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("content", [b"", b"\x08\0\0\0\0\0\0\0{}      "])
def test_a_file_that_is_no_model_is_refused(tmp_path: Path, content: bytes) -> None:
    from muqrt.runtime.engines.pytorch.model import load_model

    (tmp_path / FILE).write_bytes(content)
    with pytest.raises(SessionError, match=f"{FILE}: PyTorch cannot load it"):
        load_model(tmp_path / FILE, "fp32", torch.device("cpu"))


def test_a_device_that_is_not_there(torch_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = load_bundle(torch_folder)
    with pytest.raises(SessionError, match="'tpu': choose cpu or cuda"):
        opened(bundle, "tpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(SessionError, match=r"'cuda:1': PyTorch .* finds 0 CUDA devices"):
        opened(bundle, "cuda:1")


def test_a_precision_the_processor_lacks(
    torch_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = load_bundle(torch_folder)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    for precision in ("bf16", "fp16"):
        with pytest.raises(SessionError, match=f"{precision} is not for .* the fp32 one"):
            opened(bundle, precision=precision)


def test_out_of_memory_says_what_to_do(torch_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from muqrt.runtime.engines.pytorch.model import DeployedMuQ

    def fail(*arguments: Any) -> None:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to ...\nlong")

    with opened(load_bundle(torch_folder)) as session:
        monkeypatch.setattr(DeployedMuQ, "forward", fail)
        with pytest.raises(SessionError, match=r"out of memory .* \(1, 2000\) .* fewer windows"):
            session.run({"waveform": noise(1, 2_000)})


@pytest.mark.parametrize("name", ["torch", "safetensors"])
def test_without_pytorch_the_error_says_what_to_install(
    torch_folder: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    import_ = builtins.__import__

    def without(module: str, *arguments: Any) -> Any:
        if module == name:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return import_(module, *arguments)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(MissingDependencyError, match=rf"{name} is not .*'muqrt\[torch\]'"):
        opened(load_bundle(torch_folder))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="PyTorch finds no GPU")
@pytest.mark.parametrize("shape", [(1, 24_000), (3, 9_999)])
def test_on_a_gpu_every_run_gives_what_the_cpu_gives(
    torch_folder: Path, session: Session, shape: tuple[int, int]
) -> None:
    with opened(load_bundle(torch_folder), "cuda") as on_gpu:
        for loudness in (1.0, 0.5, 0.25, 0.125):  # at first as it comes, captured, replayed twice
            inputs = {"waveform": loudness * noise(*shape)}
            expected, found = session.run(inputs), on_gpu.run(inputs)
            np.testing.assert_allclose(
                found["features"], expected["features"], rtol=1e-3, atol=1e-3
            )
            assert (found["tokens"] == expected["tokens"]).mean() > 0.99


class FakeCuda:
    """CUDA as far as an engine calls it; a captured graph is the model's run itself."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        from muqrt.runtime.engines.pytorch import engines as torch_engines

        self.captured: list[FakeCuda.Graph] = []
        fake = self

        class Stream:
            device = torch.device("cpu")

            def __init__(self, device: Any = None) -> None: ...

            def wait_stream(self, other: Any) -> None: ...

            def synchronize(self) -> None: ...

        def capture(graph: "FakeCuda.Graph", *options: Any, **more: Any) -> Any:
            fake.captured.append(graph)
            return nullcontext()

        replacements = {
            "Stream": Stream,
            "default_stream": Stream,
            "graph_pool_handle": lambda: (0, 0),
            "device": nullcontext,
            "stream": nullcontext,
            "CUDAGraph": FakeCuda.Graph,
            "graph": capture,
        }
        for name, replacement in replacements.items():
            monkeypatch.setattr(torch.cuda, name, replacement)
        monkeypatch.setattr(torch_engines, "_pinned", torch.empty_like)
        monkeypatch.setattr(torch_engines, "MOST_GRAPHS", 2)

    class Graph:
        def __init__(self) -> None:
            self.was_reset = False
            self.replay = lambda: None

        def reset(self) -> None:
            self.was_reset = True


def test_shapes_that_come_again_are_captured(
    torch_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a GPU: which runs are captured, which replayed, and what goes."""
    from muqrt.runtime.engines.pytorch import engines as torch_engines
    from muqrt.runtime.engines.pytorch.model import load_model

    cuda = FakeCuda(monkeypatch)
    model = load_model(torch_folder / FILE, "fp32", torch.device("cpu"))
    engine = torch_engines.CudaEngine(model, torch.device("cpu"))

    def run(samples: int) -> np.ndarray:
        return engine.run({"waveform": noise(1, samples)}, ["features"])["features"]

    first = run(2_000)
    assert cuda.captured == []
    np.testing.assert_array_equal(run(2_000), first)
    np.testing.assert_array_equal(run(2_000), first)
    assert len(cuda.captured) == 1  # replayed the second time
    for samples in (3_000, 3_000, 4_000, 4_000):
        run(samples)
    assert [graph.was_reset for graph in cuda.captured] == [True, False, False]
    engine.close()
    assert all(graph.was_reset for graph in cuda.captured)
    with pytest.raises(SessionError, match="closed"):
        run(2_000)


def test_a_replay_reads_its_input_and_leaves_the_callers_answer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from muqrt.runtime.engines.pytorch import engines as torch_engines

    cuda = FakeCuda(monkeypatch)

    def double(x: Any, outputs: Any) -> dict[str, Any]:
        return dict.fromkeys(outputs, 2 * x)

    given = torch.arange(3.0)[None]
    stream = SimpleNamespace(device=torch.device("cpu"), synchronize=lambda: None)
    graph = torch_engines._Graph(double, given, ["twice"], stream, (0, 0))
    buffers = graph._given, graph._found["twice"]
    cuda.captured[0].replay = lambda: buffers[1].copy_(2 * buffers[0])
    first = graph.run(given)["twice"]
    second = graph.run(given + 1)["twice"]
    np.testing.assert_array_equal(first, [[0, 2, 4]])
    np.testing.assert_array_equal(second, [[2, 4, 6]])
