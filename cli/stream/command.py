"""``muqrt stream``: tags while the music plays, here or on a server."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from ...common.console import show
from ...errors import AudioError, UsageError
from ...runtime.streaming.local import LocalStreams
from ..options import (
    ArtefactName,
    BundleFolder,
    ServerAddress,
    Threads,
    TimeoutSeconds,
    check_place,
)
from .source import Source

if TYPE_CHECKING:
    from ...runtime.bundle.tagging import Tagging
    from ...runtime.streaming.engine import Hop
    from ...runtime.streaming.events import TagEvents
    from ...triton_repo.client.streaming import StreamingClient
    from .report import JsonLines, TextLines
    from .view import LiveView

commands = typer.Typer()

HERE = "With --bundle; a server has its own."


@commands.command()
def stream(
    audio: Annotated[
        str | None,
        typer.Argument(help="A file, an http or https address, or an input for --microphone."),
    ] = None,
    bundle: BundleFolder = None,
    server: ServerAddress = None,
    microphone: Annotated[
        bool,
        typer.Option("--microphone", help="Listen to an input: AUDIO is its number or name."),
    ] = False,
    fast: Annotated[
        bool, typer.Option("--fast", help="A file as fast as possible, not at real time.")
    ] = False,
    threshold: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="From which probability a tag counts; its own by default."),
    ] = None,
    top: Annotated[int | None, typer.Option(min=1, help="Show so many tags at most.")] = None,
    minimum_seconds: Annotated[
        float, typer.Option(min=0, max=600, help="What a tag is heard for shorter is no event.")
    ] = 1.0,
    release: Annotated[
        float, typer.Option(help="A tag is over below this share of its threshold.")
    ] = 0.8,
    hop_seconds: Annotated[
        float | None, typer.Option(help=f"From answer to answer; 0.5. {HERE}")
    ] = None,
    window_seconds: Annotated[
        float | None, typer.Option(help=f"What an answer is for; the tags' window. {HERE}")
    ] = None,
    first_seconds: Annotated[
        float | None, typer.Option(help=f"What the first answer is for; 2. {HERE}")
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="Name of the model on the server; muq_stream by default.")
    ] = None,
    artefact: ArtefactName = None,
    threads: Threads = None,
    timeout_seconds: TimeoutSeconds = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print a JSON object for each hop and event, one a line.")
    ] = False,
) -> None:
    """Say what is heard while it is heard, until the sound ends, or Ctrl-C ends it."""
    from ...runtime.streaming.events import Smoothing, TagEvents
    from .report import segment_lines, segments_document

    check_place(bundle, server, model, artefact, threads, timeout_seconds)
    source = Source(audio, microphone, real_time=not fast)
    smoothing = Smoothing(minimum_seconds, release)
    lengths = {
        "hop_seconds": hop_seconds,
        "window_seconds": window_seconds,
        "first_seconds": first_seconds,
    }
    asked = {name: seconds for name, seconds in lengths.items() if seconds is not None}
    engine: LocalStreams | StreamingClient
    if bundle is not None:
        engine = LocalStreams(bundle, artefact, threads, asked)
    else:
        assert server is not None
        engine = _client(server, model, timeout_seconds, asked)
    with engine, source.ended_by_ctrl_c():
        limits = engine.tagging.limits(threshold)
        tagging = engine.tagging.model_copy(update={"thresholds": list(limits.values())})
        rate_hz = engine.sliding.framing.sample_rate_hz
        hops = engine.stream(source.chunks(rate_hz), rate_hz, source.name)
        events = TagEvents(tagging, smoothing)
        try:
            with _output(source, tagging, top, as_json) as output:
                seconds = _follow(hops, events, source, output)
        except AudioError as too_little:
            raise source.error or too_little from None
    told = (source.name, seconds, events.segments)
    show(as_json, segments_document(*told), *segment_lines(*told))
    if source.error is not None:
        raise source.error


def _client(
    server: str, model: str | None, timeout_seconds: float | None, lengths: dict[str, float]
) -> "StreamingClient":
    from ...triton_repo.client.streaming import MODEL, TIMEOUT_SECONDS, StreamingClient

    if lengths:
        options = ", ".join(f"--{name.replace('_', '-')}" for name in lengths)
        raise UsageError(f"{options}: for --bundle; a server has its own windows.")
    return StreamingClient(server, model or MODEL, timeout_seconds or TIMEOUT_SECONDS)


@contextmanager
def _output(
    source: Source, tagging: "Tagging", top: int | None, as_json: bool
) -> "Iterator[JsonLines | TextLines | LiveView]":
    from .report import JsonLines, TextLines
    from .view import LiveView

    if as_json:
        yield JsonLines(tagging, top, on_closed=source.end)
    elif sys.stdout.isatty():
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
    """Show everything that is said of a stream; how many seconds it lasted."""
    seconds = 0.0
    for hop in hops:
        output.hop(hop, time.monotonic() - source.heard_at)
        for event in events.push(hop):
            output.event(event)
        seconds = hop.end_seconds
    for event in events.finish(seconds):
        output.event(event)
    return seconds
