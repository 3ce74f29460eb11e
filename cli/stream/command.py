"""``muqrt stream``."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ...common.console import show
from ...errors import AudioError
from ..damage import DamageOptions
from ..options import Threshold, Top, Where
from ..parameters import expand_options
from .source import Source

if TYPE_CHECKING:
    from ...runtime.bundle.tagging import Tagging
    from ...runtime.streaming.engine import Hop
    from ...runtime.streaming.events import TagEvents
    from .report import JsonLines, TextLines
    from .view import LiveView

commands = typer.Typer()


def _window_option(help: str) -> Any:
    heading = "Windows (only with --bundle; a server has set its own)"
    return typer.Option(help=help, rich_help_panel=heading)


@commands.command()
@expand_options
def stream(
    where: Where,
    damage: DamageOptions,
    audio: Annotated[
        str | None,
        typer.Argument(
            help="A file or an http(s) address; with --microphone, an input's number or name."
        ),
    ] = None,
    microphone: Annotated[
        bool, typer.Option("--microphone", help="Listen to a microphone or another audio input.")
    ] = False,
    fast: Annotated[
        bool,
        typer.Option("--fast", help="Read a file as fast as possible instead of in real time."),
    ] = False,
    threshold: Threshold = None,
    top: Top = None,
    minimum_seconds: Annotated[
        float, typer.Option(min=0, max=600, help="Ignore tags shorter than this many seconds.")
    ] = 1.0,
    release: Annotated[
        float,
        typer.Option(help="End a tag once its probability is below this share of its threshold."),
    ] = 0.8,
    hop_seconds: Annotated[
        float | None, _window_option("Seconds from one update to the next; 0.5 by default.")
    ] = None,
    window_seconds: Annotated[
        float | None,
        _window_option("Seconds of audio behind each update; the tags' window by default."),
    ] = None,
    first_seconds: Annotated[
        float | None, _window_option("Seconds of audio before the first update; 2 by default.")
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print a JSON object per hop and event, one per line.")
    ] = False,
) -> None:
    """Tag live audio while it plays.

    The stream ends with the audio or with Ctrl-C.
    """
    from ...runtime.streaming.documents import segments_document
    from ...runtime.streaming.events import Smoothing, TagEvents
    from .report import segment_lines

    place = where.place
    source = Source(audio, microphone, not fast, damage.damages.tolerance)
    smoothing = Smoothing(minimum_seconds, release)
    lengths = {
        "hop_seconds": hop_seconds,
        "window_seconds": window_seconds,
        "first_seconds": first_seconds,
    }
    given = {name: seconds for name, seconds in lengths.items() if seconds is not None}
    with place.open_streams(given) as engine, source.ended_by_ctrl_c():
        limits = engine.tagging.limits(threshold)
        tagging = engine.tagging.model_copy(update={"thresholds": list(limits.values())})
        rate_hz = engine.sliding.framing.sample_rate_hz
        hops = engine.stream(source.chunks(rate_hz), rate_hz, source.name)
        events = TagEvents(tagging, smoothing)
        try:
            with _output(source, tagging, top, as_json) as output:
                seconds = _follow(hops, events, source, output)
        except AudioError as too_little:
            if source.is_interrupted:
                raise KeyboardInterrupt from None
            raise source.error or too_little from None
    result = (source.name, seconds, events)
    facts = {"model": place.model_name, **segments_document(*result)}
    facts |= damage.damages.facts(source.name)
    lines = [*damage.damages.lines(source.name), *segment_lines(*result), place.credit]
    show(as_json, facts, *lines)
    if source.error is not None:
        raise source.error


@contextmanager
def _output(
    source: Source, tagging: "Tagging", top: int | None, as_json: bool
) -> "Iterator[JsonLines | TextLines | LiveView]":
    from .report import JsonLines, TextLines

    if as_json:
        yield JsonLines(tagging, top, on_closed=source.end)
    elif sys.stdout.isatty():
        from .view import LiveView

        with LiveView(source.name, tagging, top) as view:
            yield view
    else:
        yield TextLines(on_closed=source.end)


def _follow(
    hops: "Iterator[Hop]",
    events: "TagEvents",
    source: Source,
    output: "JsonLines | TextLines | LiveView",
) -> float:
    """Show a stream's hops and events as they come; returns how many seconds it lasted."""
    seconds = 0.0
    for hop in hops:
        output.hop(hop, time.monotonic() - source.heard_at)
        for event in events.push(hop):
            output.event(event)
        seconds = hop.end_seconds
    for event in events.finish(seconds):
        output.event(event)
    return seconds
