"""On a machine with a GPU: an engine that TensorRT really builds, certified and run."""

import shutil
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch

from muqrt.export.bundle.recipe import add
from muqrt.export.bundle_from_checkpoint import bundle_from_checkpoint
from muqrt.export.engines.tensorrt.artefact import TensorRTRecipe
from muqrt.export.parity.excerpt import Excerpt
from muqrt.export.parity.proof import Proof
from muqrt.reference.checkpoint import load_checkpoint
from muqrt.runtime.bundle.engine_options import EngineOptions, Profile
from muqrt.runtime.bundle.manifest import Artefact, Bundle, load_bundle
from muqrt.runtime.engines.tensorrt.session import TensorRtSession

pytestmark = pytest.mark.skipif(
    shutil.which("nvidia-smi") is None or find_spec("tensorrt") is None,
    reason="no GPU, or no TensorRT: pip install 'muqrt[gpu]'",
)
# Engines without the fused kernels come first: TensorRT's registry is the process's.
VARIANTS: dict[str, dict[str, bool]] = {
    "plain operators": {"fused_kernels": False},
    "refit": {"fused_kernels": False, "refit": True},
    "stripped": {"fused_kernels": False, "stripped": True},
    "weight streaming": {"fused_kernels": False, "weight_streaming": True},
    "fused kernels": {},
}
PROFILE = Profile(window_seconds=(1_025 / 24_000, 1.0, 6.0), batch=(1, 1, 3))


@pytest.fixture(scope="module", params=VARIANTS)
def built(
    request: pytest.FixtureRequest,
    tiny_checkpoint: Path,
    short_music: list[Excerpt],
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[Bundle, Artefact]:
    """A bundle and its engine in float32, certified on music."""
    folder = tmp_path_factory.mktemp("engine") / "bundle"
    checkpoint = load_checkpoint(tiny_checkpoint)
    bundle_from_checkpoint(Proof(checkpoint), folder, target="any")
    bundle = load_bundle(folder)
    options = EngineOptions(
        profiles=(PROFILE,),
        timing_cache=folder.parent / "timing.cache",
        inspect=True,
        **VARIANTS[request.param],
    )
    source = bundle.artefacts[0]
    proof = Proof(checkpoint, music=short_music)
    return bundle, add(bundle, TensorRTRecipe(source, options), proof)


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(sum(shape)).uniform(-0.5, 0.5, shape).astype(np.float32)


def test_it_is_certified(built: tuple[Bundle, Artefact]) -> None:
    bundle, artefact = built
    assert artefact.certified
    assert (bundle.folder.parent / "timing.cache").stat().st_size > 0


def test_recorded_runs_are_plain_ones(built: tuple[Bundle, Artefact]) -> None:
    batches = [noise(1 + i % 3, 24_000 + 1_111 * (i % 2)) for i in range(12)] * 2
    with (
        TensorRtSession(*built, cuda_graphs=False) as plain,
        TensorRtSession(*built) as recording,
    ):
        expected = [plain.run({"waveform": each}) for each in batches]
        recorded = [recording.run({"waveform": each}) for each in batches]
    for wanted, answer in zip(expected, recorded, strict=True):
        for name, value in wanted.items():
            np.testing.assert_array_equal(answer[name], value)


def test_tensors_on_the_gpu_are_read_there(built: tuple[Bundle, Artefact]) -> None:
    if not torch.cuda.is_available():
        pytest.skip("this PyTorch has no CUDA")
    waveform = noise(2, 33_333)
    with TensorRtSession(*built) as session:
        expected = session.run({"waveform": waveform})["features"]
        tensor = torch.from_numpy(waveform).cuda()
        for _ in range(3):
            found = session.run({"waveform": tensor})["features"]
            np.testing.assert_array_equal(found, expected)
        # Written by PyTorch's stream just before.
        found = session.run({"waveform": tensor * 2 / 2})["features"]
        np.testing.assert_array_equal(found, expected)


def test_streamed_weights_change_nothing(built: tuple[Bundle, Artefact]) -> None:
    _, artefact = built
    assert artefact.plan is not None and artefact.plan.options is not None
    if not artefact.plan.options.weight_streaming:
        pytest.skip("an engine without weight streaming")
    waveform = noise(2, 33_333)
    with TensorRtSession(*built) as session:
        expected = session.run({"waveform": waveform})["features"]
    with TensorRtSession(*built, weight_budget_bytes=0) as session:
        for _ in range(3):  # recorded, too
            found = session.run({"waveform": waveform})["features"]
            np.testing.assert_array_equal(found, expected)
