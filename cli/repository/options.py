"""The options of ``muqrt repository``; None where an option was not given."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import typer

MOST_SECONDS = 86_400


@dataclass(frozen=True)
class ServingFlags:
    """Values of ``RepositoryOptions``."""

    artefact: Annotated[
        str | None, typer.Option(help="Artefact to serve; by default the first certified one.")
    ] = None
    allow_uncertified: Annotated[
        bool | None, typer.Option(help="Serve an artefact without a passing parity certificate.")
    ] = None
    model: Annotated[
        str | None, typer.Option(help="Name of the model on the server; muq by default.")
    ] = None
    version: Annotated[
        int | None, typer.Option(min=1, help="Version of the model; 1 by default.")
    ] = None
    profile: Annotated[
        Literal["latency", "throughput", "cpu"] | None,
        typer.Option(help="Serving options to start from; other options override them."),
    ] = None
    max_batch_size: Annotated[
        int | None, typer.Option(min=1, help="Largest batch in one run; 4 by default.")
    ] = None
    max_seconds: Annotated[
        float | None,
        typer.Option(
            min=0.001,
            max=MOST_SECONDS,
            help="Refuse waveforms longer than this many seconds; by default four windows, or what "
            "this machine's memory holds.",
        ),
    ] = None
    max_queue_size: Annotated[
        int | None,
        typer.Option(
            "--queue-size",
            min=1,
            help="Reject requests when this many wait; no limit by default.",
        ),
    ] = None
    lengths_seconds: Annotated[
        list[float] | None,
        typer.Option(
            "--length-seconds",
            min=0.001,
            max=MOST_SECONDS,
            help="Length of the waveforms that clients send, warmed up at the start; may be "
            "repeated.",
        ),
    ] = None
    instances: Annotated[
        int | None,
        typer.Option(min=1, help="Copies of the model on each GPU or CPU; 1 by default."),
    ] = None
    gpus: Annotated[
        list[int] | None,
        typer.Option("--gpu", min=0, help="GPU to run on; may be repeated."),
    ] = None
    threads: Annotated[
        int | None, typer.Option(min=1, help="CPU threads of each copy; all cores by default.")
    ] = None
    response_cache: Annotated[
        bool | None,
        typer.Option("--response-cache", help="Answer repeated audio from the server's cache."),
    ] = None
    cuda_graphs: Annotated[
        bool | None,
        typer.Option("--cuda-graphs", help="Replay recorded CUDA graphs (TensorRT only)."),
    ] = None
    track: Annotated[
        bool | None,
        typer.Option(
            "--track",
            help="Also write the model that takes encoded files as they are, for curl.",
        ),
    ] = None
    text_artefact: Annotated[
        str | None,
        typer.Option(
            help="Artefact of a MuQ-MuLan's text tower; by default the first certified one."
        ),
    ] = None
    label_sets: Annotated[
        Path | None,
        typer.Option(
            help="Folder of label sets on the server's machine; by default in the model zeroshot."
        ),
    ] = None


@dataclass(frozen=True)
class StreamFlags:
    """Values of ``StreamOptions``."""

    max_streams: Annotated[
        int | None,
        typer.Option(min=1, help="Live streams at once; more are refused. 64 by default."),
    ] = None
    idle_seconds: Annotated[
        float | None,
        typer.Option(help="Drop a stream that sends nothing for this many seconds; 30 by default."),
    ] = None
    hop_seconds: Annotated[
        float | None, typer.Option(help="Seconds between a stream's answers; 0.5 by default.")
    ] = None
    window_seconds: Annotated[
        float | None,
        typer.Option(help="Seconds of audio in each answer; the tags' window by default."),
    ] = None
