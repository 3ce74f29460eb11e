"""A synthesizer with the smallest soundfont there is, and a small corpus, each made once."""

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("scipy")

from muqrt.errors import MissingDependencyError
from muqrt.training.synth.corpus import synthesize_corpus
from muqrt.training.synth.synthesizer import Synthesizer, find_soundfonts

COUNTS = {"song": 3, "voice": 3, "note": 3}
SONG_SECONDS = 8.0


@pytest.fixture(scope="session")
def soundfont() -> Path:
    """The smallest soundfont that is installed."""
    try:
        return min(find_soundfonts([]), key=lambda path: path.stat().st_size)
    except MissingDependencyError as missing:
        pytest.skip(str(missing))


@pytest.fixture(scope="session")
def synthesizer(soundfont: Path) -> Synthesizer:
    try:
        return Synthesizer([soundfont])
    except MissingDependencyError as missing:
        pytest.skip(str(missing))


@pytest.fixture(scope="session")
def corpus(
    synthesizer: Synthesizer, soundfont: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, list[dict[str, Any]]]:
    """Folder and rows of a corpus of nine short items. Do not change its files."""
    folder = tmp_path_factory.mktemp("synth") / "corpus"
    return folder, synthesize_corpus(folder, 0, COUNTS, SONG_SECONDS, [soundfont])
