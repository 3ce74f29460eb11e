"""Tags as JSON: what ``muqrt tag --json`` prints, and a gateway answers."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from ..errors import AudioError
from .audio.damage import Damages
from .bundle.tagging import TrackTags, Vocabulary
from .text.zero_shot import LabelTags, ZeroShot

Result = TrackTags | AudioError


@dataclass(frozen=True)
class Choice:
    """Which tags are shown.

    Attributes:
        threshold: the lowest probability of a tag that counts; each tag's own when None.
        top: the most tags to show; all when None.
        every_tag: also show tags below their thresholds.
    """

    threshold: float | None = None
    top: int | None = None
    every_tag: bool = False

    def shown(self, track: TrackTags) -> list[str]:
        """The tags that apply anywhere in the track, best of the whole track first; none of a
        silent track."""
        if track.is_silent:
            return []
        found = track.segments(self.threshold)
        ranking = [tag for tag, _ in track.ranking() if self.every_tag or tag in found]
        return ranking[: self.top]


def vocabulary_document(vocabulary: Vocabulary, threshold: float | None = None) -> dict[str, Any]:
    """Names and thresholds of tags as JSON."""
    return {
        "task": vocabulary.task,
        "vocabulary": vocabulary.vocabulary,
        "thresholds": vocabulary.limits(threshold),
        "window_seconds": vocabulary.window_seconds,
    }


def tags_document(
    vocabulary: Vocabulary,
    results: Sequence[tuple[Path, Result]],
    choice: Choice,
    damages: Damages,
    skipped: Sequence[Path] = (),
) -> dict[str, Any]:
    """Every track as JSON, with every score of every window, whatever the choice, and the files
    that were skipped."""
    facts = vocabulary_document(vocabulary, choice.threshold) | {
        "results": [
            _facts(audio, result, choice) | damages.facts(audio) for audio, result in results
        ],
        "skipped": [str(path) for path in skipped],
    }
    if isinstance(vocabulary, ZeroShot):
        facts["templates"] = vocabulary.labels.templates
        facts["temperature"] = vocabulary.temperature
        if vocabulary.unlearned is not None:
            facts["unlearned_words"] = vocabulary.unlearned
    return facts


def windows_of(track: TrackTags) -> Iterator[tuple[tuple[float, float], list[float]]]:
    """Every window's start and end in seconds, and its scores."""
    return zip(pairwise(track.edges_seconds.tolist()), track.window_scores.tolist(), strict=True)


def _facts(audio: Path, result: Result, choice: Choice) -> dict[str, Any]:
    if isinstance(result, AudioError):
        return {"audio": str(audio), "error": str(result)}
    guess = result.guess(choice.threshold)
    facts: dict[str, Any] = {
        "audio": str(audio),
        "seconds": result.seconds,
        "tags": dict(result.tags(choice.threshold)),
        "scores": dict(result.ranking()),
        "segments": result.segments(choice.threshold),
        "unsure": guess is not None,
        "guess": guess._asdict() if guess is not None else None,
        "silent": result.is_silent,
        "silences": result.silences,
        "windows": [
            {"start_seconds": start, "end_seconds": end, "scores": scores, "silent": silent}
            for ((start, end), scores), silent in zip(
                windows_of(result), result.silent.tolist(), strict=True
            )
        ],
    }
    if isinstance(result, LabelTags):
        facts["cosines"] = cosines_of(result)
        for window, cosines in zip(facts["windows"], result.window_cosines.tolist(), strict=True):
            window["cosines"] = cosines
    return facts


def cosines_of(track: TrackTags) -> dict[str, float]:
    """Every label's cosine with the whole track, best first; empty for a head's tags."""
    if not isinstance(track, LabelTags):
        return {}
    found = dict(zip(track.tagging.vocabulary, track.cosines.tolist(), strict=True))
    return {tag: found[tag] for tag, _ in track.ranking()}
