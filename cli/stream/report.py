"""Live tags as lines of text or JSON."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from ...common.console import Table, show
from ...runtime.bundle.tagging import Segment, Tagging
from ...runtime.streaming.documents import (
    by_tag,
    event_document,
    hop_document,
    is_silent_throughout,
)
from ...runtime.streaming.engine import Hop
from ...runtime.streaming.events import Event, Silence, TagEvents


class JsonLines:
    """Prints a JSON object for each hop and each event, one per line.

    Args:
        tagging: the tags' names and thresholds.
        top: the most tags of a hop to print; all that reach their thresholds when None.
        on_closed: called when the reader of stdout has gone.
    """

    def __init__(self, tagging: Tagging, top: int | None, on_closed: Callable[[], None]) -> None:
        self._tagging, self._top, self._on_closed = tagging, top, on_closed

    def hop(self, hop: Hop, latency_seconds: float) -> None:
        """Print the tags that reach their thresholds, best first."""
        document = hop_document(self._tagging, hop, self._top)
        self._print({**document, "latency_seconds": latency_seconds})

    def event(self, event: Event | Silence) -> None:
        """Print an event; its end is null if the tag or the silence has just begun."""
        self._print(event_document(event))

    def _print(self, document: dict[str, Any]) -> None:
        if not show(True, document):
            self._on_closed()


class TextLines:
    """Prints a line for each event; ``on_closed`` is called when the reader has gone."""

    def __init__(self, on_closed: Callable[[], None]) -> None:
        self._on_closed = on_closed

    def hop(self, hop: Hop, latency_seconds: float) -> None:
        """Print nothing: there are too many hops to read."""

    def event(self, event: Event | Silence) -> None:
        """Print what begins or ends, and when."""
        if not show(False, None, event_line(event)):
            self._on_closed()


def event_line(event: Event | Silence) -> str:
    """An event as a line of text."""
    what = event.tag if isinstance(event, Event) else "silence"
    if event.end_seconds is None:
        return f"{event.start_seconds:.1f} s  {what} begins"
    stretch = f"{event.start_seconds:.1f} to {event.end_seconds:.1f} s"
    return f"{event.end_seconds:.1f} s  {what} ends ({stretch})"


def segment_lines(name: str, seconds: float, events: TagEvents) -> Iterator[str | Table]:
    """A whole stream as text: every segment of every tag, and the silences."""
    tags = by_tag(events.segments)
    if is_silent_throughout(seconds, events.silences):
        yield f"{name}: {seconds:.1f} s: silent"
        return
    yield f"{name}: {seconds:.1f} s: {', '.join(tags) or 'unsure'}"
    if events.silences:
        yield f"silent: {_stretches(events.silences)} s"
    rows = [[tag, _stretches(stretches)] for tag, stretches in tags.items()]
    if rows:
        yield Table("", ["tag", "from-to, s"], rows)


def _stretches(segments: Sequence[Segment]) -> str:
    return ", ".join(f"{start:.1f}-{end:.1f}" for start, end in segments)
