"""What the tests of every engine start from."""

from pathlib import Path

import pytest

from muqrt.export.parity.excerpt import Excerpt
from muqrt.reference.checkpoint import Checkpoint, load_checkpoint


@pytest.fixture(scope="module")
def checkpoint(tiny_checkpoint: Path) -> Checkpoint:
    return load_checkpoint(tiny_checkpoint)


@pytest.fixture(scope="module")
def very_short_music(short_music: list[Excerpt]) -> list[Excerpt]:
    return [each for each in short_music if each.seconds < 2]
