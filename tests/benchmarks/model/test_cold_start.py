"""Fresh processes: what they report, and how they fail."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from muqrt.benchmarks.model.cold_start import STARTS, ColdStartRequest, measure_cold_starts
from muqrt.errors import SessionError


@pytest.fixture(scope="module")
def waveform(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("waveform") / "noise.npy"
    np.save(path, np.random.default_rng(0).normal(0, 0.1, (1, 24_000)).astype(np.float32))
    return str(path)


def test_an_artefact_starts_without_torch(tiny_bundle: Path, waveform: str) -> None:
    request = ColdStartRequest("ours", waveform, 1, bundle=str(tiny_bundle), artefact="onnx-fp32")
    seen: list[str] = []
    (found,) = measure_cold_starts([request], seen.append)
    assert seen == ["ours"] * STARTS
    assert len(found.starts) == STARTS
    assert 0 < found.load_seconds < found.cold_start_seconds
    assert found.first_answer_seconds < found.cold_start_seconds
    # torch alone would take more than this.
    assert 30e6 < found.peak_rss_bytes < 160e6


def test_a_process_does_not_inherit_the_peak_of_the_one_that_starts_it() -> None:
    program = (
        "from muqrt.benchmarks.model.cold_start import peak_rss_bytes; print(peak_rss_bytes())"
    )
    if not Path("/proc/self/status").is_file():
        pytest.skip("a Linux trap")
    large = np.ones(400_000_000 // 8)
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert large[-1] == 1
    assert int(done.stdout) < 200e6


def test_a_process_that_fails_says_why(tmp_path: Path, waveform: str) -> None:
    request = ColdStartRequest(
        "ours", waveform, 1, bundle=str(tmp_path / "none"), artefact="onnx-fp32"
    )
    with pytest.raises(SessionError, match=r"ours: a fresh process failed: .*no bundle\.json"):
        measure_cold_starts([request], lambda name: None)


def test_the_module_needs_no_torch() -> None:
    program = (
        "import sys; sys.modules['torch'] = sys.modules['onnx'] = None;"
        "import muqrt.benchmarks.model.cold_start, muqrt.benchmarks.measure.contenders;"
        "import muqrt.cli.bench.command"
    )
    environment = {**os.environ, "PYTHONPATH": ""}
    subprocess.run([sys.executable, "-c", program], check=True, env=environment)
