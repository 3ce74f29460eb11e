"""Live tags on a terminal: a bar for each tag, and the latest events."""

from collections import deque
from collections.abc import Sequence

from rich.bar import Bar
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from ...common.closing import Closing
from ...common.console import printable
from ...runtime.bundle.tagging import TAGS, Tagging, present
from ...runtime.streaming.documents import ranked
from ...runtime.streaming.engine import Hop
from ...runtime.streaming.events import Event, Silence
from .report import event_line

_TAGS_SHOWN = 12
_EVENTS_SHOWN = 6
_BAR_COLUMNS = 32
_ABOVE, _BELOW = "green", "bright_black"


class LiveView(Closing):
    """Shows a stream's newest hop, and leaves the last one on the terminal.

    Args:
        name: the source's.
        tagging: the tags' names and thresholds.
        top: how many tags to show; 12 when None.
        console: the terminal; stdout when None.
    """

    def __init__(
        self, name: str, tagging: Tagging, top: int | None = None, console: Console | None = None
    ) -> None:
        self._name, self._tagging, self._top = printable(name), tagging, top or _TAGS_SHOWN
        self._events: deque[Event | Silence] = deque(maxlen=_EVENTS_SHOWN)
        self._hop: Hop | None = None
        self._latency_seconds = 0.0
        # Drawn when something is new, not all the time.
        self._live = Live(self._drawn(), console=console or Console(), auto_refresh=False)

    def hop(self, hop: Hop, latency_seconds: float) -> None:
        """Show a hop; the latency is the time from its last sample to its tags."""
        self._hop, self._latency_seconds = hop, latency_seconds
        self._refresh()

    def event(self, event: Event | Silence) -> None:
        """Show an event above the older ones."""
        self._events.appendleft(event)
        self._refresh()

    def __enter__(self) -> "LiveView":
        self._live.start(refresh=True)
        return self

    def close(self) -> None:
        """Leave what is shown on the terminal."""
        self._live.stop()

    def _refresh(self) -> None:
        self._live.update(self._drawn(), refresh=True)

    def _drawn(self) -> RenderableType:
        if self._hop is None:
            return Group(Text(f"{self._name}: listening ..."), *self._event_lines())
        hop = self._hop
        heading = (
            f"{self._name}  {hop.end_seconds:.1f} s  (tags of {hop.start_seconds:.1f} to "
            f"{hop.end_seconds:.1f} s, {self._latency_seconds * 1e3:.0f} ms later)"
            f"{'  silence' if hop.is_silent else ''}"
        )
        return Group(Text(heading), self._bars(hop), *self._event_lines())

    def _bars(self, hop: Hop) -> Table:
        scores, limits = hop.outputs[TAGS], list(self._tagging.limits().values())
        counts = present(self._tagging, scores, limits)
        names = {tag for tag, does in zip(self._tagging.vocabulary, counts, strict=True) if does}
        bars = Table.grid(padding=(0, 1))
        for tag, score in ranked(self._tagging, scores)[: self._top]:
            colour = _ABOVE if tag in names else _BELOW
            bar = Bar(1.0, 0.0, score, width=_BAR_COLUMNS, color=colour)
            bars.add_row(Text(tag, style=colour), bar, Text(f"{score:.2f}"))
        return bars

    def _event_lines(self) -> Sequence[Text]:
        return [Text(event_line(event)) for event in self._events]
