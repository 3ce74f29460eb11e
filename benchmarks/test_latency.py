"""Latency of the small model with random weights: ``pytest benchmarks --benchmark-only``."""

import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture

from muqrt.benchmarks.kernels.contenders import Contender as KernelContender
from muqrt.benchmarks.kernels.contenders import log_mel_contender
from muqrt.benchmarks.measure.contenders import Contender, eager, from_artefact
from muqrt.benchmarks.measure.latency import Cell, music
from muqrt.export.bundle_from_checkpoint import bundle_from_checkpoint
from muqrt.export.parity.excerpt import excerpts
from muqrt.export.parity.proof import Proof
from muqrt.reference.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from muqrt.reference.random_model import SMALL, random_model

CELLS = [Cell(window, batch) for window in (1.0, 5.0, 10.0) for batch in (1, 4)]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    folder = tmp_path_factory.mktemp("checkpoint") / "small"
    save_checkpoint(random_model(SMALL), folder)
    return load_checkpoint(folder)


@pytest.fixture(scope="module", params=["eager", "onnx-fp32"])
def contender(
    request: pytest.FixtureRequest, checkpoint: Checkpoint, tmp_path_factory: pytest.TempPathFactory
) -> Contender:
    threads = torch.get_num_threads()
    if request.param == "eager":
        return eager(checkpoint.model, threads)
    folder = tmp_path_factory.mktemp("bundle") / "small"
    bundle = bundle_from_checkpoint(Proof(checkpoint, music=excerpts()[:2]), folder)
    return from_artefact(bundle, bundle.artefact(), threads)


@pytest.mark.parametrize("cell", CELLS, ids=str)
def test_whole_model(benchmark: BenchmarkFixture, contender: Contender, cell: Cell) -> None:
    benchmark.group = f"whole model, {cell}"
    benchmark(contender.run, music(cell))


@pytest.mark.parametrize("cell", CELLS, ids=str)
def test_log_mel_in_torch(benchmark: BenchmarkFixture, checkpoint: Checkpoint, cell: Cell) -> None:
    benchmark.group = f"log-mel, {cell}"
    log_mel = checkpoint.model.model.preprocessor_melspec_2048
    with torch.inference_mode():
        benchmark(log_mel, torch.from_numpy(music(cell)))


@pytest.mark.parametrize("cell", CELLS, ids=str)
def test_log_mel_in_onnx(
    benchmark: BenchmarkFixture, log_mel_in_onnx: KernelContender, cell: Cell
) -> None:
    benchmark.group = f"log-mel, {cell}"
    benchmark(log_mel_in_onnx.run, torch.from_numpy(music(cell)))


@pytest.fixture(scope="module")
def log_mel_in_onnx(checkpoint: Checkpoint) -> KernelContender:
    """The operator alone, as a graph of one node."""
    log_mel = checkpoint.model.model.preprocessor_melspec_2048
    return log_mel_contender(log_mel, "cpu", torch.get_num_threads())
