"""The bundle in the package is that of the checkpoint in the tree, proven and small."""

import shutil
from pathlib import Path

import pytest

from muqrt.cli.export.options import ProofOptions, proof_of
from muqrt.export.parity.excerpt import Excerpt
from muqrt.export.parity.gate import parity
from muqrt.reference.checkpoint import load_checkpoint
from muqrt.runtime.bundle.manifest import Bundle, load_bundle
from muqrt.runtime.bundle.parts import encoder_file, front_end_file
from muqrt.runtime.bundle.shipped import SHIPPED_BUNDLE
from muqrt.runtime.bundle.tokens import TOKENS_FILE

MUQ_MINI = Path(__file__).parents[2] / "reference" / "checkpoints" / "muq-mini"
CURE = "the shipped bundle is not of this checkpoint; run: make shipped"


@pytest.fixture
def shipped() -> Bundle:
    return load_bundle(SHIPPED_BUNDLE)


def test_it_is_of_the_checkpoint_in_the_tree(shipped: Bundle) -> None:
    assert shipped.source.sha256 == load_checkpoint(MUQ_MINI).sha256, CURE
    assert shipped.source.checkpoint == "muq-mini"


def test_it_is_certified_and_gives_everything(shipped: Bundle) -> None:
    (artefact,) = shipped.artefacts
    shipped.verify(artefact)
    assert artefact.certified and artefact.precision == "fp32"
    assert [spec.name for spec in artefact.outputs] == ["features", "embedding", "tokens", "tags"]
    assert {TOKENS_FILE, front_end_file(artefact.file), encoder_file(artefact.file)} <= set(
        artefact.files
    )
    # Whatever is there goes into the wheel.
    assert {path.name for path in SHIPPED_BUNDLE.iterdir()} == {"bundle.json", *artefact.files}


def test_its_numbers_are_the_checkpoints(
    shipped: Bundle, short_music: list[Excerpt], tmp_path: Path
) -> None:
    """Head and RVQ are the tree's as well, or there would be nothing to compare with."""
    shutil.copytree(SHIPPED_BUNDLE, tmp_path / "copy")
    copy = load_bundle(tmp_path / "copy")
    proof = proof_of(copy, str(MUQ_MINI), ProofOptions(), lambda what: None)
    parity(copy, type(proof)(proof.checkpoint, proof.head, proof.rvq, short_music[:1]))
    assert copy.artefact().certified, CURE
