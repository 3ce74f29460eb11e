"""On a machine with a GPU: what ONNX Runtime's CUDA provider answers, recorded or not."""

from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest

from muqrt.export.bundle_from_checkpoint import bundle_from_checkpoint
from muqrt.export.parity.proof import Proof
from muqrt.reference.checkpoint import load_checkpoint
from muqrt.runtime.bundle.manifest import Bundle
from muqrt.runtime.engines.onnxruntime.session import OnnxSession

pytestmark = pytest.mark.skipif(
    "CUDAExecutionProvider" not in ort.get_available_providers(),
    reason="no onnxruntime-gpu",
)


@pytest.fixture(scope="module")
def bundle(tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    folder = tmp_path_factory.mktemp("gpu") / "bundle"
    return bundle_from_checkpoint(Proof(load_checkpoint(tiny_checkpoint)), folder, target="any")


@pytest.mark.parametrize("cuda_graphs", [False, True])
def test_it_answers_as_the_cpu_does(bundle: Bundle, cuda_graphs: bool) -> None:
    generator = np.random.default_rng(0)
    waveforms = [
        generator.uniform(-0.5, 0.5, (batch, samples)).astype(np.float32)
        for _ in range(5)
        for batch, samples in ((1, 24_000), (2, 33_333))
    ]
    artefact = bundle.artefacts[0]
    with (
        OnnxSession(bundle, artefact) as cpu,
        OnnxSession(bundle, artefact, device="cuda", cuda_graphs=cuda_graphs) as gpu,
    ):
        for waveform in waveforms:
            expected, found = (each.run({"waveform": waveform}) for each in (cpu, gpu))
            for name, array in expected.items():
                np.testing.assert_allclose(found[name], array, rtol=1e-3, atol=1e-3)


def test_tensors_on_the_gpu_are_read_there(bundle: Bundle) -> None:
    torch = pytest.importorskip("torch")
    if not torch.cuda.is_available():
        pytest.skip("this PyTorch has no CUDA")
    waveform = np.random.default_rng(0).uniform(-0.5, 0.5, (2, 33_333)).astype(np.float32)
    with OnnxSession(bundle, bundle.artefacts[0], device="cuda") as session:
        expected = session.run({"waveform": waveform})["features"]
        tensor = torch.from_numpy(waveform).cuda()
        for given in (tensor, tensor, tensor, tensor * 2 / 2):
            found = session.run({"waveform": given})["features"]
            np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)
