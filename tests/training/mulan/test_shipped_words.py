"""The words that muq-mulan-mini says it learned are those of the corpus that it was trained on."""

from pathlib import Path

import pytest

from muqrt.common.words import LearnedWords
from muqrt.reference.mulan.checkpoint import mulan_files
from muqrt.training.data.captioned import Captioned, CaptionedCorpus
from muqrt.training.data.corpus import Corpus
from muqrt.training.data.crops import Track
from muqrt.training.data.manifest import Recording
from muqrt.training.synth.studio.recipe import RECIPES

SHIPPED = Path(__file__).parents[3] / "reference" / "checkpoints" / "muq-mulan-mini"


@pytest.mark.full
def test_they_follow_from_the_generators_labels() -> None:
    songs = []
    for item in RECIPES["general-midi"].items(0, {"song": 1000}, 30.0):
        if item.split == "train":
            row = Recording(**item.plan().row)  # nothing is rendered
            songs.append([Captioned(Track(row.audio, row.seconds or 0.0), row)])
    assert len(songs) == 800
    captioned = CaptionedCorpus(Corpus([], [], [], ""), songs, [], "")
    words = mulan_files(SHIPPED).words
    assert words is not None
    assert LearnedWords.read(words) == LearnedWords.of(captioned.fitting_texts(seed=0))
