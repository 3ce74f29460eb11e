"""What only the kernel promises: its output types, strides and limits, and that it compiles."""

import json
import re
import subprocess
import sys

import pytest
import torch
from torch import Tensor

from muqrt.errors import SessionError
from muqrt.kernels.log_mel.contract import MINIMUM_SAMPLES
from muqrt.kernels.log_mel.torch import log_mel as plain

pytest.importorskip("triton", reason="Triton, which runs the kernel, is not installed")

from muqrt.kernels.log_mel.triton import FRAMES, log_mel, variant

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
MEAN_DB, STD_DB = 6.768444971712967, 18.417922652295623  # of the released model
LAUNCH_BYTES = 48 * 1024  # of shared memory, what a launch gets without asking for more


@pytest.fixture(autouse=True)
def poisoned(monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory that the kernel has to write holds what it never writes."""

    def empty(*shape: object, **options: object) -> Tensor:
        return torch.full(*shape, float("nan"), **options)

    monkeypatch.setattr(torch, "empty", empty)


def noise(*shape: int) -> Tensor:
    return 0.1 * torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(DEVICE)


def expected(waveform: Tensor) -> Tensor:
    return plain(waveform.cpu(), MEAN_DB, STD_DB, torch.float32).to(DEVICE)


@pytest.mark.parametrize("extra_frames", range(2 * FRAMES))
def test_every_place_is_written_at_a_tiles_edge(extra_frames: int) -> None:
    waveform = noise(2, 240 * (5 + extra_frames) + 7)
    output = log_mel(waveform, MEAN_DB, STD_DB)
    assert output.shape == (2, 128, 5 + extra_frames)
    torch.testing.assert_close(output, expected(waveform), atol=2e-5, rtol=0)


def test_a_longer_waveform_that_begins_anywhere() -> None:
    """Its address is no multiple of 16 bytes."""
    waveform = noise(1, 10_000)[:, 1:]
    output = log_mel(waveform, MEAN_DB, STD_DB)
    torch.testing.assert_close(output, expected(waveform), atol=2e-5, rtol=0)


@pytest.mark.parametrize(
    "waveform",
    [
        noise(3, 6000)[:, 10:1300],
        noise(3, 3000)[:, ::2],
        noise(1300, 2).mT,
        noise(6, 1300)[::3],
        noise(1, 1300).expand(2, 1300),
    ],
    ids=["cut", "every second sample", "transposed", "every third row", "one row twice"],
)
def test_any_strides(waveform: Tensor) -> None:
    output = log_mel(waveform, MEAN_DB, STD_DB)
    assert output.is_contiguous()
    torch.testing.assert_close(output, expected(waveform), atol=2e-5, rtol=0)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize(
    "waveform",
    [torch.zeros(1, 1300).to(DEVICE), 1e-6 * noise(1, 1300), noise(1, 1300).sign()],
    ids=["silence", "quiet", "full scale"],
)
def test_half_precision_is_the_rounded_float32(dtype: torch.dtype, waveform: Tensor) -> None:
    """With normalisation and, for the largest values, without."""
    # The interpreter cuts bfloat16 off where a GPU rounds it.
    steps = 0.5 if DEVICE == "cuda" or dtype == torch.float16 else 1
    for mean_db, std_db in (MEAN_DB, STD_DB), (0.0, 1.0):
        exact = log_mel(waveform, mean_db, std_db)
        output = log_mel(waveform, mean_db, std_db, dtype)
        assert output.dtype == dtype
        assert output.isfinite().all()
        tolerance = 1.01 * steps * torch.finfo(dtype).eps
        torch.testing.assert_close(output.float(), exact, atol=1e-6, rtol=tolerance)


@pytest.mark.parametrize(
    ("waveform", "dtype", "says"),
    [
        (torch.zeros(2000), torch.float32, r"shape \(2000,\); give it float32"),
        (torch.zeros(1, 2000).double(), torch.float32, "float64"),
        (torch.zeros(1, 1024), torch.float32, f"1024 samples; .* {MINIMUM_SAMPLES} or more"),
        (torch.zeros(1, 2000), torch.float64, "a log-mel in torch.float64"),
        (torch.zeros(1, 1025).expand(65_536, 1025), torch.float32, "65536 rows"),
    ],
)
def test_what_the_kernel_cannot_take(waveform: Tensor, dtype: torch.dtype, says: str) -> None:
    with pytest.raises(SessionError, match=says):
        log_mel(waveform.to(DEVICE), MEAN_DB, STD_DB, dtype)


def test_no_rows_in_no_rows_out() -> None:
    assert log_mel(torch.zeros(0, 2000, device=DEVICE), MEAN_DB, STD_DB).shape == (0, 128, 8)


def test_the_arguments_that_others_launch_it_with() -> None:
    half = variant("fp16", MEAN_DB, STD_DB)
    assert half.name == "log_mel_fp16"
    assert list(half.signature.items()) == [
        ("waveform", "*fp32"),
        ("tables", "*fp32"),
        ("samples", "i32"),
        ("row_stride", "i32"),
        ("frames", "i32"),
        ("log_mel", "*fp16"),
    ]
    assert half.constants == {"MEAN_DB": MEAN_DB, "STD_DB": STD_DB, "FRAMES": FRAMES}


COMPILE = """
import json, sys
from muqrt.kernels.build import MEAN_DB, STD_DB
from muqrt.kernels.log_mel.triton import variant
from muqrt.kernels.ptx import ptx_of

compiled = [ptx_of(variant("bf16", MEAN_DB, STD_DB), int(each)) for each in sys.argv[1:]]
print(json.dumps([vars(each) for each in compiled]))
"""


def test_it_compiles_into_registers_and_three_products(compiling: dict[str, str]) -> None:
    """For the GPUs that need most registers, and for the newest tensor cores; test_build.py takes
    all. In a process of its own: here the kernel may be an interpreted function."""
    command = [sys.executable, "-c", COMPILE, "80", "100"]
    done = subprocess.run(command, env=compiling, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for each in json.loads(done.stdout):
        assert each["spill_bytes"] == each["scratch_bytes"] == 0
        assert 0 < each["shared_bytes"] <= LAUNCH_BYTES
        # Nothing is written but the output.
        assert set(re.findall(r"\bst\.(?:global|local)\S*", each["ptx"])) == {"st.global.b16"}
        assert "cvt.rn.bf16" in each["ptx"]
        # Only operands that are split in two are rounded to TF32 beforehand.
        assert "cvt.rna.tf32" in each["ptx"]
        assert "max.NaN.f32" in each["ptx"]  # the interpreter's never loses a NaN
