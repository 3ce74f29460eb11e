"""The operator inside PyTorch; test_log_mel.py has its numbers."""

import pytest
import torch
from torch import Tensor, nn

from muqrt.errors import SessionError
from muqrt.kernels.log_mel.torch import log_mel


class Front(nn.Module):
    """The operator between others, as in a model."""

    def forward(self, waveform: Tensor) -> Tensor:
        """(batch, samples) to (batch, 128, frames)."""
        return log_mel(2 * waveform, 6.77, 18.42, torch.float32) + 1


def noise(*shape: int) -> Tensor:
    return 0.1 * torch.randn(shape, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("shape", [(1, 1025), (3, 2500)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_the_operator_keeps_pytorchs_rules(shape: tuple[int, int], dtype: torch.dtype) -> None:
    torch.library.opcheck(log_mel, (noise(*shape), 6.77, 18.42, dtype))


def test_compiled_without_a_break() -> None:
    compiled = torch.compile(Front(), fullgraph=True, backend="aot_eager", dynamic=True)
    for shape in (2, 1300), (5, 4321):
        assert torch.equal(compiled(noise(*shape)), Front()(noise(*shape)))


def test_exported_with_any_batch_and_length() -> None:
    dynamic = {0: torch.export.Dim("batch"), 1: torch.export.Dim("samples", min=1025)}
    program = torch.export.export(Front(), (noise(2, 1300),), dynamic_shapes=(dynamic,))
    targets = [node.target for node in program.graph.nodes if node.op == "call_function"]
    assert torch.ops.muqrt.log_mel.default in targets
    for shape in (1, 1025), (7, 4321):
        assert torch.equal(program.module()(noise(*shape)), Front()(noise(*shape)))


def test_autocast_changes_nothing() -> None:
    waveform = noise(2, 1300)
    with torch.autocast("cpu", torch.bfloat16):
        output = log_mel(waveform, 6.77, 18.42, torch.float32)
    assert torch.equal(output, log_mel(waveform, 6.77, 18.42, torch.float32))


def test_normalised_by_mean_and_deviation() -> None:
    waveform = noise(2, 1300)
    decibels = log_mel(waveform, 0.0, 1.0, torch.float32)
    normalised = log_mel(waveform, 6.0, 18.0, torch.float32)
    torch.testing.assert_close(normalised, (decibels - 6) / 18)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_the_rounded_float32(dtype: torch.dtype) -> None:
    exact = log_mel(noise(2, 1300), 0.0, 1.0, torch.float32)
    assert torch.equal(log_mel(noise(2, 1300), 0.0, 1.0, dtype), exact.to(dtype))


def test_on_cuda_the_operator_is_the_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    log_mel_triton = pytest.importorskip("muqrt.kernels.log_mel.triton")
    seen: list[object] = []
    monkeypatch.setattr(log_mel_triton, "log_mel", lambda *given: seen.append(given) or noise(1))
    arguments = (noise(1, 1300), 6.0, 18.0, torch.float16)
    assert set(log_mel._backend_fns) == {None, "cuda"}
    log_mel._backend_fns["cuda"](*arguments)
    assert seen == [arguments]


@pytest.mark.parametrize(
    ("waveform", "dtype", "says"),
    [
        (torch.zeros(1, 2, 2000), torch.float32, r"shape \(1, 2, 2000\); give it float32"),
        (torch.zeros(1, 2000).half(), torch.float32, "float16"),
        (torch.zeros(1, 1024), torch.float32, "1024 samples; .* 1025 or more"),
        (torch.zeros(1, 2000), torch.int32, "a log-mel in torch.int32"),
    ],
)
def test_what_it_cannot_take(waveform: Tensor, dtype: torch.dtype, says: str) -> None:
    with pytest.raises(SessionError, match=says):
        log_mel(waveform, 6.77, 18.42, dtype)
