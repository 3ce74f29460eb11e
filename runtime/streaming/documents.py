"""Live tags as JSON: the objects that ``muqrt stream --json`` prints, and a gateway sends."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..bundle.tagging import TAGS, Segment, Tagging, TagScore, nearest, present
from .engine import Hop
from .events import Event, Silence, TagEvents


def ranked(tagging: Tagging, scores: np.ndarray) -> list[TagScore]:
    """Every tag with its score, best first; ``scores`` are float32 (tags,)."""
    order = np.argsort(-scores, kind="stable")
    return [TagScore(tagging.vocabulary[i], float(scores[i])) for i in order]


def hop_document(tagging: Tagging, hop: Hop, top: int | None = None) -> dict[str, Any]:
    """A hop with the tags that reach their thresholds, best first; ``top`` of them at most. Where
    there is none, the best guess."""
    scores = hop.outputs[TAGS]
    counts = present(tagging, scores, list(tagging.limits().values()))
    names = {name for name, does in zip(tagging.vocabulary, counts, strict=True) if does}
    above = [each for each in ranked(tagging, scores) if each.tag in names]
    is_unsure = not above and not hop.is_silent
    return {
        "type": "hop",
        "start_seconds": hop.start_seconds,
        "end_seconds": hop.end_seconds,
        "tags": {} if hop.is_silent else dict(above[:top]),
        "unsure": is_unsure,
        "guess": nearest(tagging, scores)._asdict() if is_unsure else None,
        "silent": hop.is_silent,
    }


def event_document(event: Event | Silence) -> dict[str, Any]:
    """An event; its end is None if the tag or the silence has just begun."""
    kind = "event" if isinstance(event, Event) else "silence"
    return {"type": kind, **event._asdict()}


def segments_document(name: str, seconds: float, events: TagEvents) -> dict[str, Any]:
    """A whole stream as JSON: every segment of every tag, and the silences."""
    return {
        "type": "segments",
        "audio": name,
        "seconds": seconds,
        "segments": by_tag(events.segments),
        "silences": events.silences,
        "silent": is_silent_throughout(seconds, events.silences),
    }


def is_silent_throughout(seconds: float, silences: Sequence[Segment]) -> bool:
    """Whether a stream of so many seconds was nothing but silence."""
    return list(silences) == [(0.0, seconds)]


def by_tag(segments: Sequence[Event]) -> dict[str, list[Segment]]:
    """Every tag's segments, the tag with the longest total first."""
    found: dict[str, list[Segment]] = {}
    for tag, start, end, _ in segments:
        assert end is not None  # a segment has ended
        found.setdefault(tag, []).append(Segment(start, end))
    return dict(sorted(found.items(), key=lambda item: -sum(e - s for s, e in item[1])))
