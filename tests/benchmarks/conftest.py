from pathlib import Path

import pytest

from muqrt.export.bundle_from_checkpoint import bundle_from_checkpoint
from muqrt.export.parity.proof import Proof
from muqrt.reference.checkpoint import load_checkpoint


@pytest.fixture(scope="session")
def uncertified_bundle(tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a bundle of the tiny checkpoint whose numbers nobody has compared."""
    folder = tmp_path_factory.mktemp("uncertified") / "bundle"
    bundle_from_checkpoint(Proof(load_checkpoint(tiny_checkpoint)), folder)
    return folder
