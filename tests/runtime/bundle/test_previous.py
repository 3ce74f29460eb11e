"""Bundles of the previous version load, are still proven, and give the same numbers."""

from pathlib import Path

import numpy as np
import pytest

from muqrt.runtime.audio.read import load as read
from muqrt.runtime.bundle.manifest import load_bundle
from muqrt.runtime.load import load

SECONDS = 4
RATE_HZ = 24_000
BUNDLES = {"bundle": ["onnx-fp32"], "tagged": ["onnx-fp32", "torch-fp32"]}
BUNDLES["mulan"] = ["onnx-fp32", "text-fp32"]


@pytest.mark.parametrize("name", BUNDLES)
def test_every_certificate_is_still_passing(name: str, previous: Path) -> None:
    bundle = load_bundle(previous / name)
    assert [each.name for each in bundle.artefacts] == BUNDLES[name]
    for artefact in bundle.artefacts:
        bundle.verify(artefact)
        assert artefact.certificate is not None
        assert artefact.certificate.artefact_sha256 == artefact.digest
        assert artefact.certified


def test_the_numbers_are_the_same(previous: Path, music: Path) -> None:
    waveform = read(music / "greensleeves_duo.flac")[: SECONDS * RATE_HZ]
    answers = np.load(previous / "answers.npz")
    for bundle in ("bundle", "tagged"):
        with load(previous / bundle) as model:
            found = model.embed(waveform, RATE_HZ)
        np.testing.assert_allclose(found, answers["embedding"], atol=1e-4)
    with load(previous / "mulan") as model:
        cosines = model.similarity(waveform, ["guitar", "piano", "cello"], RATE_HZ)
    np.testing.assert_allclose(cosines, answers["cosines"], atol=1e-5)
