"""Written scores, read by music21: MusicXML, Humdrum, ABC."""

import re
from pathlib import Path
from typing import Any

from .score import Score, ScoreNote, ScorePart

_TUNE = re.compile(r"(?=^X:)", re.MULTILINE)
_MOST_PARTS = 12
_MODES = ("major", "minor")


def read_notation(path: Path, tune: int | None = None) -> Score:
    """A score, or one tune of a book in ABC; repeats are not written out.

    Raises whatever music21 raises at a file that it cannot read.
    """
    from music21 import converter

    if tune is None:
        return _score(converter.parse(path, forceSource=True))
    return _score(converter.parse(tunes(path)[tune], format="abc"))


def tunes(path: Path) -> list[str]:
    """The tunes of a book in ABC."""
    text = path.read_text(encoding="utf-8", errors="replace")
    return [tune for tune in _TUNE.split(text) if tune.startswith("X:")]


def _score(found: Any) -> Score:
    from music21 import harmony, key, meter, note

    notes, parts = [], list(found.parts)[:_MOST_PARTS]
    for index, part in enumerate(parts):
        for each in part.stripTies().flatten().notes:
            # Chord symbols are no notes, grace notes have no length, drums no pitch.
            if isinstance(each, harmony.Harmony | note.Unpitched) or each.quarterLength <= 0:
                continue
            notes += [
                ScoreNote(index, float(each.offset), float(each.quarterLength), pitch.midi)
                for pitch in each.pitches
            ]
    notes.sort(key=lambda each: (each.start, each.part, each.key))
    flat = found.flatten()
    signatures = flat.getElementsByClass(meter.TimeSignature)
    metres = {(each.numerator, each.denominator) for each in signatures}
    metre = metres.pop() if len(metres) == 1 else None
    tonalities = flat.getElementsByClass(key.KeySignature)
    keys = {
        (each.tonic.pitchClass, each.mode) if isinstance(each, key.Key) else None
        for each in tonalities
    }
    tonality = keys.pop() if len(keys) == 1 else None
    return Score(
        tuple(ScorePart() for _ in parts),
        tuple(notes),
        max((each.start + each.quarters for each in notes), default=0.0),
        metre[0] * 4 / metre[1] if metre else None,
        metre[0] if metre and metre[1] == 4 else None,
        key=tonality if tonality and tonality[1] in _MODES else None,
    )
