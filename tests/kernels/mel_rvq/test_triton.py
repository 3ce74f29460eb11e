"""What the kernels do beyond the contract that test_mel_rvq.py holds every implementation to."""

import subprocess
import sys
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import Tensor

from muqrt.errors import KernelError, SessionError
from muqrt.kernels.mel_rvq.contract import Stage, reconstructions, tables

pytest.importorskip("triton", reason="Triton, which runs the kernels, is not installed")

from muqrt.kernels.mel_rvq.quantized_triton import quantized
from muqrt.kernels.mel_rvq.triton import mel_rvq, variant

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
IMPOSSIBLE = -7777
rng = np.random.default_rng(0)


@pytest.fixture(autouse=True, scope="module")
def poisoned() -> Iterator[None]:
    """Memory that a kernel has to write holds what no kernel writes."""
    allocate = torch.empty

    def empty(*shape: object, **options: object) -> Tensor:
        made = allocate(*shape, **options)
        return made.fill_(float("nan") if made.is_floating_point() else IMPOSSIBLE)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch, "empty", empty)
        yield


def random_stages(width: int, stages: int, codes: int, code_width: int) -> list[Stage]:
    shapes = (code_width, width), (code_width,), (codes, code_width), (width, code_width), (width,)
    return [Stage(*(rng.normal(size=s) / s[-1] ** 0.5 for s in shapes)) for _ in range(stages)]


def on_device(stages: list[Stage]) -> list[Tensor]:
    return [torch.from_numpy(each).to(DEVICE) for each in vars(tables(stages)).values()]


def randn(*shape: int) -> Tensor:
    return torch.from_numpy(rng.normal(size=shape).astype(np.float32)).to(DEVICE)


@pytest.fixture(scope="module")
def small() -> list[Stage]:
    """Two stages of 40 codes of 16, for 4 frames of 3 mels."""
    return random_stages(12, 2, 40, 16)


@pytest.mark.parametrize("steps", [1, 16, 33])
def test_every_token_is_written(small: list[Stage], steps: int) -> None:
    tokens = mel_rvq(randn(3, 3, 4 * steps + 3), on_device(small), 4)
    assert tokens.shape == (3, 2, steps)
    assert ((tokens >= 0) & (tokens < 40)).all()


def test_any_strides(small: list[Stage]) -> None:
    rvq = on_device(small)
    for log_mel in randn(2, 30, 3).mT, randn(2, 6, 60)[:, ::2, ::2], randn(1, 3, 9).expand(2, 3, 9):
        assert not log_mel.is_contiguous()
        assert torch.equal(mel_rvq(log_mel, rvq, 4), mel_rvq(log_mel.contiguous(), rvq, 4))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_read_as_it_is(small: list[Stage], dtype: torch.dtype) -> None:
    log_mel, rvq = randn(2, 3, 30).to(dtype), on_device(small)
    assert torch.equal(mel_rvq(log_mel, rvq, 4), mel_rvq(log_mel.float(), rvq, 4))


def test_tokens_of_two_bytes(small: list[Stage]) -> None:
    log_mel, rvq = randn(2, 3, 30), on_device(small)
    tokens = mel_rvq(log_mel, rvq, 4, torch.int16)
    assert tokens.dtype == torch.int16
    assert torch.equal(tokens.int(), mel_rvq(log_mel, rvq, 4))


@pytest.mark.parametrize("shape", [(0, 3, 8), (2, 3, 3), (2, 3, 0)])
def test_nothing_in_nothing_out(small: list[Stage], shape: tuple[int, int, int]) -> None:
    assert mel_rvq(randn(*shape), on_device(small), 4).shape == (shape[0], 2, shape[2] // 4)


@pytest.mark.filterwarnings("ignore:invalid value")
@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_what_is_not_finite_spoils_only_its_own_steps(small: list[Stage], value: float) -> None:
    log_mel, rvq = randn(1, 3, 40), on_device(small)
    expected = mel_rvq(log_mel, rvq, 4)
    log_mel[0, 1, 9] = value
    tokens = mel_rvq(log_mel, rvq, 4)
    assert ((tokens >= 0) & (tokens < 40)).all()
    others = torch.arange(10, device=DEVICE) != 2
    assert torch.equal(tokens[..., others], expected[..., others])


def test_too_many_rows(small: list[Stage]) -> None:
    with pytest.raises(SessionError, match="65536 rows"):
        mel_rvq(torch.zeros(1, 3, 4, device=DEVICE).expand(65_536, 3, 4), on_device(small), 4)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"token_dtype": "fp32"}, "does not write fp32; ask for int32 or int16"),
        ({"token_dtype": "i16", "codes": 32_769}, "int16 cannot count 32769 codes"),
        ({"stages": 33, "code_width": 9}, "33 stages of 9-wide codes are 1024 latents"),
    ],
)
def test_what_the_kernel_cannot_do(options: dict[str, int], says: str) -> None:
    with pytest.raises(KernelError, match=says):
        variant(**options)


def test_tokens_of_eight_bytes_are_refused(small: list[Stage]) -> None:
    with pytest.raises(KernelError, match=r"does not write torch\.int64"):
        mel_rvq(randn(1, 3, 8), on_device(small), 4, torch.int64)


def test_the_largest_tokens_of_two_bytes_fit() -> None:
    assert variant(token_dtype="i16", codes=32_768).name == "mel_rvq_fp32_i16"


@pytest.mark.parametrize("dtype", [torch.int32, torch.int16])
@pytest.mark.parametrize(("batch", "width", "steps"), [(2, 130, 33), (3, 1, 16), (1, 64, 1)])
def test_quantized(dtype: torch.dtype, batch: int, width: int, steps: int) -> None:
    rows = torch.from_numpy(reconstructions(random_stages(width, 3, 50, 12))).to(DEVICE)
    tokens = torch.from_numpy(rng.integers(0, 50, (batch, steps, 3))).to(DEVICE, dtype).mT
    expected = rows[0][tokens[:, 0].long()]
    for stage in 1, 2:
        expected = expected + rows[stage][tokens[:, stage].long()]
    assert torch.equal(quantized(tokens, rows), expected.mT)


def test_quantized_is_what_the_tokens_are_nearest_to() -> None:
    """With a code for each of few vectors, they come back as they were."""
    vectors = rng.normal(size=(40, 12))
    stages = [Stage(np.eye(12), np.zeros(12), vectors, np.eye(12), np.zeros(12))]
    latent = torch.from_numpy(vectors.T[None].astype(np.float32)).to(DEVICE)
    rows = torch.from_numpy(reconstructions(stages)).to(DEVICE)
    assert torch.equal(quantized(mel_rvq(latent, on_device(stages), 1), rows), latent)


def test_tokens_of_another_rvq_are_refused() -> None:
    rows = torch.from_numpy(reconstructions(random_stages(12, 3, 50, 12)))
    for shape, dtype in ((2, 4, 5), torch.int32), ((3, 5), torch.int32), ((2, 3, 5), torch.int64):
        with pytest.raises(SessionError, match=r"int32 or int16, \(batch, 3, steps\)"):
            quantized(torch.zeros(shape, dtype=dtype), rows)


COMPILE = """
from muqrt.kernels.mel_rvq import quantized_triton, triton
from muqrt.kernels.ptx import ptx_of

print(ptx_of(triton.variant(mels=5, stages=32, codes=1000, code_width=12), 86).registers)
print(ptx_of(quantized_triton.variant("i16", 512, 8, 1024), 86).registers)
"""


def test_other_shapes_compile_for_the_gpu_with_the_least_memory(compiling: dict[str, str]) -> None:
    """What spills or needs more than the 99 KiB of sm_86 is an error."""
    done = subprocess.run(
        [sys.executable, "-c", COMPILE], env=compiling, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
