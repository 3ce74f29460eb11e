"""The released architecture, 310M weights: what the tiny one cannot show."""

from pathlib import Path

import pytest

from muqrt.export.bundle_from_checkpoint import bundle_from_checkpoint
from muqrt.export.parity.excerpt import EXCERPT_SAMPLES, Excerpt
from muqrt.export.parity.proof import Proof
from muqrt.reference.checkpoint import Checkpoint
from muqrt.reference.random_model import LARGE, random_model
from muqrt.runtime.bundle.certificate import THRESHOLDS

pytestmark = [pytest.mark.slow, pytest.mark.full]


def test_the_full_size_passes_at_every_length(all_excerpts: list[Excerpt], tmp_path: Path) -> None:
    checkpoint = Checkpoint(random_model(LARGE), "large", "0" * 64)
    assert checkpoint.parameters > 300e6
    bundle = bundle_from_checkpoint(Proof(checkpoint, music=all_excerpts[:-1]), tmp_path / "bundle")
    artefact = bundle.artefact()
    graphs = {"muq.onnx", "muq-front-end.onnx", "muq-encoder.onnx"}
    assert set(artefact.files) == {"muq.onnx.data", *graphs}
    assert all(bundle.path(name).stat().st_size < 4e6 for name in graphs)
    assert artefact.certificate is not None
    lengths = {round(each.seconds * 24_000) for each in artefact.certificate.measurements}
    assert lengths == set(EXCERPT_SAMPLES)
    for each in artefact.certificate.measurements:
        assert each.passes(THRESHOLDS["fp32"])
