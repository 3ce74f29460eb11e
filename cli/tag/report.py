"""Tags as text, as JSON and as CSV."""

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from ...common.console import Table
from ...common.files import atomic_file
from ...errors import AudioError
from ...runtime.bundle.tagging import Segment, TrackTags, present
from ...runtime.documents import Choice, Result, cosines_of, windows_of
from ...runtime.text.zero_shot import LabelTags

_TIMELINE_COLUMNS = 32
_LEVELS = "·▁▂▃▄▅▆▇█"  # from never to always
_ROUNDING = 1e-6
_SEGMENTS_SHOWN = 3
_LONGEST_NAME_CHARACTERS = 60
_CSV_COLUMNS = ("audio", "start_seconds", "end_seconds", "tag", "score", "threshold")
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")
_CSV_SILENT = "silent"  # 1 or 0, the last column


def lines(audio: Path, result: Result, choice: Choice) -> Iterator[str | Table]:
    """One track as text: its tags, and a table of where each of them applies."""
    if isinstance(result, AudioError):
        yield f"FAILED {result}"
        return
    names = [short(tag) for tag, _ in result.tags(choice.threshold)]
    tags = ", ".join(names[: choice.top]) or _unsure(result, choice)
    yield f"{audio}: {result.seconds:.1f} s: {tags}"
    if result.silences and not result.is_silent:
        yield f"silent: {_stretches(result.silences)} s"
    scores, segments = dict(result.ranking()), result.segments(choice.threshold)
    limits, cosines = result.tagging.limits(choice.threshold), cosines_of(result)
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
    counts = present(track.tagging, track.window_scores, list(limits.values()))
    for window, ((start, end), scores) in enumerate(windows_of(track)):
        where = [_cell(str(audio)), f"{start:.3f}", f"{end:.3f}"]
        if track.silent[window]:
            yield [*where, *([""] * (3 if cosines is None else 4)), 1]
            continue
        for column, ((tag, limit), score) in enumerate(zip(limits.items(), scores, strict=True)):
            if choice.every_tag or counts[window, column]:
                row = [*where, _cell(tag), f"{score:.6f}", limit]
                if cosines is not None:
                    row.append(f"{cosines[window, column]:.6f}")
                yield [*row, 0]


def _cell(text: str) -> str:
    """Text that no spreadsheet takes for a formula: before one goes an apostrophe, as by OWASP."""
    return f"'{text}" if text.startswith(_FORMULA_STARTS) else text


def _unsure(track: TrackTags, choice: Choice) -> str:
    """What is said of a track without a certain tag."""
    guess = track.guess(choice.threshold)
    if guess is None:
        return "silent"
    return f"unsure; best guess {short(guess.tag)} ({guess.score:.2f})"


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
