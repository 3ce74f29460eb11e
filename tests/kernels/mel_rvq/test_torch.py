"""The operator and the kernel against the reference, and the operator inside PyTorch."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from muqrt.errors import SessionError
from muqrt.kernels.mel_rvq.contract import Stage, tables
from muqrt.kernels.mel_rvq.torch import MelRvq, _fused, mel_rvq
from muqrt.reference.checkpoint import load_checkpoint
from muqrt.reference.rvq import ResidualVectorQuantize, stacked
from muqrt.runtime.audio import read as audio

GOLDEN = Path(__file__).parents[2] / "reference" / "golden" / "label_rate_25"
MUQ_MINI = Path(__file__).parents[3] / "reference" / "checkpoints" / "muq-mini"
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
Implementation = Callable[..., Tensor]
StagesOf = Callable[[ResidualVectorQuantize], list[Stage]]
Folded = Callable[[ResidualVectorQuantize, int], MelRvq]
AssertNearest = Callable[[np.ndarray, np.ndarray, Sequence[Stage], int], None]


@dataclass(frozen=True)
class Case:
    """What to quantise, and the tokens (batch, stages, steps) to expect."""

    rvq: ResidualVectorQuantize
    log_mel: Tensor
    frames_per_step: int
    tokens: Tensor


def random_rvq(width: int, stages: int, codes: int, code_width: int) -> ResidualVectorQuantize:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return ResidualVectorQuantize(width, stages, codes, code_width, 1).eval()


def randn(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


def random_case() -> Case:
    rvq, log_mel = random_rvq(64, 5, 300, 16), randn(3, 16, 131)
    return Case(rvq, log_mel, 4, rvq(stacked(log_mel, 4))[1])


def official_case() -> Case:
    """A second of the recording, with the official package's tokens."""
    model = load_checkpoint(GOLDEN).model
    samples = np.load(GOLDEN.parent / "waveform.npz")["samples"][:24_000]
    waveform = torch.from_numpy(samples.astype(np.float32) / 32_768)
    log_mel = model.model.preprocessor_melspec_2048(waveform[None])
    tokens = torch.from_numpy(np.load(GOLDEN / "outputs.npz")["one second/tokens"])
    assert isinstance(model.model.rvq, ResidualVectorQuantize)
    return Case(model.model.rvq, log_mel, model.config.frames_per_step, tokens)


def muq_mini_case(music: Path) -> Case:
    """Most of a second from the middle of each piece."""
    model = load_checkpoint(MUQ_MINI).model
    songs = [audio.load(path) for path in sorted(music.iterdir()) if path.suffix != ".md"]
    middles = [song[len(song) // 2 :][:22_800] for song in songs]
    log_mel = model.model.preprocessor_melspec_2048(torch.from_numpy(np.stack(middles)))
    rvq = model.model.rvq
    assert isinstance(rvq, ResidualVectorQuantize)
    return Case(rvq, log_mel, 4, rvq(stacked(log_mel, 4))[1])


@pytest.fixture(scope="module", params=["random", "official", "muq_mini"])
def case(request: pytest.FixtureRequest, music: Path) -> Case:
    with torch.no_grad():
        if request.param == "muq_mini":
            return muq_mini_case(music)
        return official_case() if request.param == "official" else random_case()


@pytest.fixture(scope="module")
def folded(stages_of: StagesOf) -> Folded:
    return lambda rvq, frames_per_step: MelRvq(tables(stages_of(rvq)), frames_per_step)


def fused(*arguments: object) -> Tensor:
    pytest.importorskip("triton", reason="Triton, which runs the kernel, is not installed")
    moved = [each.to(DEVICE) if isinstance(each, Tensor) else each for each in arguments]
    return _fused(*moved).cpu()


@pytest.mark.parametrize("implementation", [mel_rvq, fused])
def test_tokens_are_the_references(
    case: Case,
    implementation: Implementation,
    assert_nearest: AssertNearest,
    folded: Folded,
    stages_of: StagesOf,
) -> None:
    model = folded(case.rvq, case.frames_per_step)
    tokens = implementation(case.log_mel, *model.buffers(), case.frames_per_step)
    assert tokens.dtype == torch.int32
    stages = stages_of(case.rvq)
    assert_nearest(tokens.numpy(), case.log_mel.numpy(), stages, case.frames_per_step)
    # A choice between two nearly equal codes changes the later stages' as well.
    assert (tokens == case.tokens).float().mean() >= 0.99


def test_a_wrong_token_is_seen(
    case: Case, assert_nearest: AssertNearest, stages_of: StagesOf
) -> None:
    arguments = (case.log_mel.numpy(), stages_of(case.rvq), case.frames_per_step)
    tokens = case.tokens.int().numpy()
    assert_nearest(tokens, *arguments)
    for place in (0, 0, 0), (-1, -1, -1):
        wrong = tokens.copy()
        wrong[place] = (wrong[place] + 1) % case.rvq.quantizers[0].codebook.num_embeddings
        with pytest.raises(AssertionError):
            assert_nearest(wrong, *arguments)


def test_a_latent_of_one_frame_a_step(folded: Folded) -> None:
    rvq, latent = random_rvq(40, 3, 50, 12), randn(2, 40, 9)
    assert torch.equal(folded(rvq, 1)(latent), rvq(latent)[1].int())


def test_the_operator_keeps_pytorchs_rules(folded: Folded) -> None:
    model = folded(random_rvq(12, 2, 20, 8), 3)
    for shape in (2, 4, 13), (3, 4, 2):
        torch.library.opcheck(mel_rvq, (randn(*shape), *model.buffers(), 3))


def test_compiled_without_a_break(folded: Folded) -> None:
    model = folded(random_rvq(12, 2, 20, 8), 3)
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager", dynamic=True)
    for shape in (2, 4, 13), (5, 4, 31):
        assert torch.equal(compiled(randn(*shape)), model(randn(*shape)))


def test_exported_with_any_batch_and_length(folded: Folded) -> None:
    model = folded(random_rvq(12, 2, 20, 8), 3)
    dynamic = {0: torch.export.Dim("batch"), 2: torch.export.Dim("frames", min=6)}
    program = torch.export.export(model, (randn(2, 4, 13),), dynamic_shapes=(dynamic,))
    assert [n.target for n in program.graph.nodes if n.op == "call_function"][-1] == (
        torch.ops.muqrt.mel_rvq.default
    )
    for shape in (1, 4, 30), (7, 4, 101):
        assert torch.equal(program.module()(randn(*shape)), model(randn(*shape)))


def test_autocast_changes_no_token(folded: Folded) -> None:
    model, log_mel = folded(random_rvq(64, 5, 300, 16), 4), randn(3, 16, 131)
    with torch.autocast("cpu", torch.bfloat16):
        tokens = model(log_mel)
    assert torch.equal(tokens, model(log_mel))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_read_as_it_is(dtype: torch.dtype, folded: Folded) -> None:
    model, log_mel = folded(random_rvq(64, 5, 300, 16), 4), randn(3, 16, 131).to(dtype)
    assert torch.equal(model(log_mel), model(log_mel.float()))


def test_on_cuda_the_operator_is_the_kernel(
    monkeypatch: pytest.MonkeyPatch, folded: Folded
) -> None:
    mel_rvq_triton = pytest.importorskip("muqrt.kernels.mel_rvq.triton")
    seen: list[object] = []
    monkeypatch.setattr(mel_rvq_triton, "mel_rvq", lambda *given: seen.append(given) or randn(1))
    buffers = tuple(folded(random_rvq(12, 2, 20, 8), 3).buffers())
    log_mel = randn(1, 4, 13)
    assert set(mel_rvq._backend_fns) == {None, "cuda"}
    mel_rvq._backend_fns["cuda"](log_mel, *buffers, 3)
    assert seen == [(log_mel, buffers, 3)]


@pytest.mark.parametrize(
    ("log_mel", "says"),
    [
        (randn(4, 13), r"shape \(4, 13\)"),
        (randn(1, 5, 13), "3 frames of 5 mels are 15 values a step; this RVQ quantises 12"),
        (randn(1, 4, 13).double(), "float64"),
    ],
)
@pytest.mark.parametrize("implementation", [mel_rvq, fused])
def test_what_the_tables_are_not_for(
    log_mel: Tensor, says: str, implementation: Implementation, folded: Folded
) -> None:
    buffers = folded(random_rvq(12, 2, 20, 8), 3).buffers()
    with pytest.raises(SessionError, match=says):
        implementation(log_mel, *buffers, 3)


def test_tables_in_half_precision_are_refused(folded: Folded) -> None:
    with pytest.raises(SessionError, match="keep the tables in float32"):
        folded(random_rvq(12, 2, 20, 8), 3).half()(randn(1, 4, 13))
