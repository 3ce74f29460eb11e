"""A vocalist: a speaker's syllables moved to a melody by the vocoder WORLD."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from ..singer import Singer, random_singer
from ..synthesizer import SAMPLE_RATE_HZ
from ..voice import Sung, Technique, pitch
from .speech import FRAME_MS, SYLLABLES, Speaker, Syllable, speakers, syllable

_WOMANS_LOWEST = 50  # MIDI key: singers that begin above it are women
_TRACT = (0.94, 1.08)  # formants over the speaker's
_VIBRATO = (0.2, 1.0)
_EDGE_FRAMES = 16  # of a syllable's beginning and end that are not stretched
_RELEASE_FRAMES = 10
_RMS = 0.1
_CHOIR_CENTS, _CHOIR_LATE_S = 14.0, 0.025


@dataclass(frozen=True)
class Vocalist:
    """Who sings, and how.

    Args:
        speaker: whose syllables.
        singer: range and vibrato.
        tract: factor of the formants.
        vibrato: factor of the depth.
        voices: how many sing together.
    """

    speaker: Speaker
    singer: Singer
    tract: float
    vibrato: float
    voices: int

    @classmethod
    def sample(
        cls, rng: np.random.Generator, singer: Singer, held_out: bool, choir_share: float = 0.2
    ) -> "Vocalist":
        """A vocalist with a singer's range; ``held_out`` for tests."""
        found = speakers(singer.lowest >= _WOMANS_LOWEST, held_out)
        return cls(
            found[int(rng.integers(len(found)))],
            singer,
            float(rng.uniform(*_TRACT)),
            float(rng.uniform(*_VIBRATO)),
            int(rng.integers(3, 6)) if rng.random() < choir_share else 1,
        )

    def sung(self, rng: np.random.Generator, notes: Sequence[Sung], seconds: float) -> np.ndarray:
        """A melody, (samples,) at 24 kHz: one note at a time, by start.

        Args:
            rng: syllables, vibrato and, in a choir, who is how late.
            notes: at least one.
            seconds: length of the result.
        """
        words = [str(word) for word in rng.choice(SYLLABLES, size=len(notes))]
        audio = np.zeros(round(seconds * SAMPLE_RATE_HZ))
        for voice in range(self.voices):
            who = self if self.voices == 1 else self._chorister(rng)
            late = rng.uniform(0, _CHOIR_LATE_S) if voice else 0.0
            cents = rng.normal(0, _CHOIR_CENTS) if voice else 0.0
            shifted = [replace(n, start=n.start + late, end=n.end + late) for n in notes]
            audio += who._alone(rng, shifted, words, cents, len(audio))
        heard = audio[np.abs(audio) > 0]
        return audio * (_RMS / np.sqrt(np.mean(heard**2)) if len(heard) else 1)

    def _chorister(self, rng: np.random.Generator) -> "Vocalist":
        return replace(self, tract=self.tract * float(rng.uniform(0.95, 1.05)), voices=1)

    def _alone(
        self,
        rng: np.random.Generator,
        notes: Sequence[Sung],
        words: Sequence[str],
        cents: float,
        samples: int,
    ) -> np.ndarray:
        import pyworld

        frames = int(samples / SAMPLE_RATE_HZ * 1000 / FRAME_MS) + 1
        # WORLD's frames are those of the pitch: 200 a second.
        hz = pitch(rng, self.singer, Technique(vibrato=self.vibrato), notes, frames)
        hz = hz * 2 ** (cents / 1200)
        first = syllable(self.speaker, words[0])
        envelope = np.full((frames, first.envelope.shape[1]), 1e-12)
        noise = np.ones_like(envelope)
        voiced = np.zeros(frames, bool)
        for note, word in zip(notes, words, strict=True):
            spoken = syllable(self.speaker, word)
            begin = min(max(round(note.start * 1000 / FRAME_MS), 0), frames)
            end = min(max(round(note.end * 1000 / FRAME_MS), begin), frames)
            chosen = _stretched(spoken, end - begin)
            fade = np.minimum(1, (end - begin - np.arange(end - begin)) / _RELEASE_FRAMES)
            envelope[begin:end] = spoken.envelope[chosen] * fade[:, None] ** 2
            noise[begin:end] = spoken.noise[chosen]
            voiced[begin:end] = spoken.voiced[chosen]
        hz = np.where(voiced, hz, 0.0)
        warped = _warped(envelope, self.tract)
        audio = pyworld.synthesize(hz, warped, _warped(noise, self.tract), SAMPLE_RATE_HZ, FRAME_MS)
        return np.pad(audio[:samples], (0, max(samples - len(audio), 0)))


def random_vocalist(rng: np.random.Generator, held_out: bool, lowest: int) -> Vocalist:
    """A vocalist whose range begins near a key."""
    singers = [random_singer(rng) for _ in range(4)]
    return Vocalist.sample(rng, min(singers, key=lambda s: abs(s.lowest - lowest)), held_out)


def _stretched(spoken: Syllable, frames: int) -> np.ndarray:
    """Which of the syllable's frames is sung when: its middle is stretched, its ends are not."""
    available = len(spoken.voiced)
    if frames <= 0:
        return np.zeros(0, int)
    edge = min(_EDGE_FRAMES, available // 3, frames // 3)
    (vowel,) = np.nonzero(spoken.voiced)
    inner = max(edge, vowel[0]), min(available - edge, vowel[-1] + 1)
    low, high = inner if inner[0] < inner[1] else (edge, max(available - edge, edge + 1))
    before = np.arange(low)[: frames // 3]
    after = np.arange(high, available)[: frames // 3]
    middle = np.linspace(low, high - 1, frames - len(before) - len(after)).round().astype(int)
    return np.minimum(np.concatenate([before, middle, after]), available - 1)


def _warped(rows: np.ndarray, factor: float) -> np.ndarray:
    """(frames, bins) with what was at a frequency at ``factor`` times that."""
    bins = rows.shape[1]
    places = np.minimum(np.arange(bins) / factor, bins - 1)
    low = np.floor(places).astype(int)
    high, share = np.minimum(low + 1, bins - 1), places - low
    return np.ascontiguousarray(rows[:, low] * (1 - share) + rows[:, high] * share)
