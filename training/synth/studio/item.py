"""An item of recipe "studio": composed and played by the studio, a score, or a clip as before."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..item import KINDS, Item, ItemPlan, Sound, song_labels
from ..song import compose
from ..synthesizer import Synthesizer
from .band import played
from .performance import Performance, heard, performance_of
from .production import Production
from .reading import reading
from .vocalist import Vocalist

STUDIO_KINDS = ("song", "score", "voice", "note")

# Apart from the random streams of the first recipe.
_STREAM = 1000
_SPOKEN_SHARE = 0.7  # of sung songs: the rest is sung by the formant synthesiser


@dataclass(frozen=True)
class StudioItem(Item):
    """An item of the studio: everything about it follows from these.

    Args:
        collections: names of the scores' collections.
    """

    collections: tuple[str, ...] = ()

    @property
    def split(self) -> str:
        """As in the first recipe; scores are split like songs."""
        return Item(self.seed, self.kind if self.kind in KINDS else "song", self.index, 0).split

    def plan(self) -> ItemPlan:
        """What is known of it before it is rendered."""
        numbers = [self.seed, _STREAM + STUDIO_KINDS.index(self.kind), self.index]
        content, performance, room = np.random.default_rng(numbers).spawn(3)
        production = Production.sample(room)
        if self.kind == "song":
            seconds, labels, sound = self._song(content)
        elif self.kind == "score":
            seconds, labels, sound = self._score(content)
        else:
            clip = Item(self.seed, self.kind, self.index, self.song_seconds).plan()
            seconds, labels, sound = clip.seconds, clip.labels, clip.sound
        return ItemPlan(self, seconds, labels, sound, production, performance)

    def _song(self, rng: np.random.Generator) -> tuple[float, dict[str, Any], Sound]:
        is_test = self.split == "test"
        song = compose(rng, self.song_seconds, held_out=is_test)
        voice = song.singer
        if voice is not None and rng.random() < _SPOKEN_SHARE:
            performance = performance_of(song, Vocalist.sample(rng, voice, is_test))
        else:
            performance = performance_of(song, voice)
        labels = song_labels(song)
        words, unknown = heard(performance)
        labels["tags"] = sorted((set(labels["tags"]) - unknown) | words)
        return song.seconds, {**labels, "tags_unknown": sorted(unknown)}, self._sound(performance)

    def _score(self, rng: np.random.Generator) -> tuple[float, dict[str, Any], Sound]:
        found = reading(rng, self.split, self.song_seconds, list(self.collections))
        return found.performance.seconds, found.labels(), self._sound(found.performance)

    def _sound(self, performance: Performance) -> Sound:
        held_out = self.split == "test"

        def sound(rng: np.random.Generator, player: Synthesizer, cents: float) -> np.ndarray:
            return played(rng, performance, player, cents, held_out)

        return sound
