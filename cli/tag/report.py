"""Tags as text, as JSON and as CSV."""

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from ...common.console import Table
from ...common.files import atomic_file
from ...errors import AudioError
from ...runtime.bundle.tagging import Segment, TrackTags, Vocabulary
from ...runtime.text.zero_shot import LabelTags, ZeroShot
from ..damage import Damages

Result = TrackTags | AudioError

_TIMELINE_COLUMNS = 32
_LEVELS = "·▁▂▃▄▅▆▇█"  # from never to always
_ROUNDING = 1e-6
_SEGMENTS_SHOWN = 3
_LONGEST_NAME_CHARACTERS = 60
_CSV_COLUMNS = ("audio", "start_seconds", "end_seconds", "tag", "score", "threshold")
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")
_CSV_SILENT = "silent"  # 1 or 0, the last column


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


def lines(audio: Path, result: Result, choice: Choice) -> Iterator[str | Table]:
    """One track as text: its tags, and a table of where each of them applies."""
    if isinstance(result, AudioError):
        yield f"FAILED {result}"
        return
    names = [short(tag) for tag, _ in result.tags(choice.threshold)]
    tags = "silent" if result.is_silent else ", ".join(names[: choice.top]) or "no tags"
    yield f"{audio}: {result.seconds:.1f} s: {tags}"
    if result.silences and not result.is_silent:
        yield f"silent: {_stretches(result.silences)} s"
    scores, segments = dict(result.ranking()), result.segments(choice.threshold)
    limits, cosines = result.tagging.limits(choice.threshold), _cosines(result)
    rows = [
        [
            short(tag),
            *([f"{cosines[tag]:.3f}"] if cosines else []),
            f"{scores[tag]:.3f}",
            f"{limits[tag]:.3f}",
            _timeline(segments.get(tag, []), result.seconds),
            _stretches(segments.get(tag, [])),
        ]
        for tag in choice.shown(result)
    ]
    if rows:
        columns = ["tag", *(["cosine"] if cosines else []), "score", "threshold"]
        yield Table("", [*columns, "when", "from-to, s"], rows)


def document(
    vocabulary: Vocabulary,
    results: Sequence[tuple[Path, Result]],
    choice: Choice,
    damages: Damages,
    skipped: Sequence[Path] = (),
) -> dict[str, Any]:
    """Every track as JSON, with every score of every window, whatever the choice, and the files
    that were skipped."""
    facts: dict[str, Any] = {
        "task": vocabulary.task,
        "vocabulary": vocabulary.vocabulary,
        "thresholds": vocabulary.limits(choice.threshold),
        "window_seconds": vocabulary.window_seconds,
        "results": [
            _facts(audio, result, choice) | damages.facts(audio) for audio, result in results
        ],
        "skipped": [str(path) for path in skipped],
    }
    if isinstance(vocabulary, ZeroShot):
        facts["templates"] = vocabulary.labels.templates
        facts["temperature"] = vocabulary.temperature
    return facts


def write_csv(path: Path, results: Sequence[tuple[Path, Result]], choice: Choice) -> None:
    """Write a CSV file, whole or not at all, with a row for each tag of each window.

    Tags below their thresholds are written only if the choice is every tag; files that could not
    be used are left out. A silent window has one row, without a tag.
    """
    tracks = [(audio, result) for audio, result in results if not isinstance(result, AudioError)]
    by_labels = any(isinstance(track, LabelTags) for _, track in tracks)
    with (
        atomic_file(path) as temporary,
        # A file's name may be bytes that are no text.
        temporary.open("w", encoding="utf-8", errors="surrogateescape", newline="") as file,
    ):
        writer = csv.writer(file)
        writer.writerow([*_CSV_COLUMNS, *(["cosine"] if by_labels else []), _CSV_SILENT])
        for audio, track in tracks:
            writer.writerows(_rows(audio, track, choice))


def _rows(audio: Path, track: TrackTags, choice: Choice) -> Iterator[list[object]]:
    limits = track.tagging.limits(choice.threshold)
    cosines = track.window_cosines if isinstance(track, LabelTags) else None
    for window, ((start, end), scores) in enumerate(_windows(track)):
        where = [_cell(str(audio)), f"{start:.3f}", f"{end:.3f}"]
        if track.silent[window]:
            yield [*where, *([""] * (3 if cosines is None else 4)), 1]
            continue
        for column, ((tag, limit), score) in enumerate(zip(limits.items(), scores, strict=True)):
            if choice.every_tag or score >= limit:
                row = [*where, _cell(tag), f"{score:.6f}", limit]
                if cosines is not None:
                    row.append(f"{cosines[window, column]:.6f}")
                yield [*row, 0]


def _cell(text: str) -> str:
    """Text that no spreadsheet takes for a formula: before one goes an apostrophe, as by OWASP."""
    return f"'{text}" if text.startswith(_FORMULA_STARTS) else text


def _windows(track: TrackTags) -> Iterator[tuple[tuple[float, float], list[float]]]:
    """Every window's start and end in seconds, and its scores."""
    return zip(pairwise(track.edges_seconds.tolist()), track.window_scores.tolist(), strict=True)


def _facts(audio: Path, result: Result, choice: Choice) -> dict[str, Any]:
    if isinstance(result, AudioError):
        return {"audio": str(audio), "error": str(result)}
    facts: dict[str, Any] = {
        "audio": str(audio),
        "seconds": result.seconds,
        "tags": dict(result.tags(choice.threshold)),
        "scores": dict(result.ranking()),
        "segments": result.segments(choice.threshold),
        "silent": result.is_silent,
        "silences": result.silences,
        "windows": [
            {"start_seconds": start, "end_seconds": end, "scores": scores, "silent": silent}
            for ((start, end), scores), silent in zip(
                _windows(result), result.silent.tolist(), strict=True
            )
        ],
    }
    if isinstance(result, LabelTags):
        facts["cosines"] = _cosines(result)
        for window, cosines in zip(facts["windows"], result.window_cosines.tolist(), strict=True):
            window["cosines"] = cosines
    return facts


def _cosines(track: TrackTags) -> dict[str, float]:
    """Every label's cosine with the whole track, best first; empty for a head's tags."""
    if not isinstance(track, LabelTags):
        return {}
    found = dict(zip(track.tagging.vocabulary, track.cosines.tolist(), strict=True))
    return {tag: found[tag] for tag, _ in track.ranking()}


def short(tag: str) -> str:
    """A label cut to the length of a line."""
    return (
        tag if len(tag) <= _LONGEST_NAME_CHARACTERS else tag[: _LONGEST_NAME_CHARACTERS - 1] + "…"
    )


def _timeline(segments: Sequence[Segment], seconds: float) -> str:
    """A character for each part of the track, taller where segments cover more of it."""
    edges = np.linspace(0, seconds, _TIMELINE_COLUMNS + 1)
    covered = np.zeros(_TIMELINE_COLUMNS)
    for segment in segments:
        covered += np.diff(np.clip(edges, *segment))
    share = covered * _TIMELINE_COLUMNS / seconds
    highest = len(_LEVELS) - 1
    levels = np.ceil(share * highest - _ROUNDING).clip(0, highest).astype(int)
    return "".join(_LEVELS[level] for level in levels)


def _stretches(segments: Sequence[Segment]) -> str:
    shown = ", ".join(
        f"{s.start_seconds:.1f}-{s.end_seconds:.1f}" for s in segments[:_SEGMENTS_SHOWN]
    )
    more = len(segments) - _SEGMENTS_SHOWN
    return f"{shown} and {more} more" if more > 0 else shown
