"""The arguments of ``muqrt repository``; defaults are those of ``RepositoryOptions``."""

from pathlib import Path
from typing import Annotated, Literal

import typer

_MOST_SECONDS = 86_400

Folder = Annotated[
    Path, typer.Argument(metavar="BUNDLE", help="Bundle folder, written by muqrt export.")
]
Output = Annotated[
    Path | None, typer.Option("--output", "-o", help="Model repository to write to.")
]
Check = Annotated[
    Path | None,
    typer.Option(metavar="MODELS", help="Check this model repository against BUNDLE."),
]
Config = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE.toml", help="Read options from this file; flags override single values."
    ),
]
Artefact = Annotated[
    str | None, typer.Option(help="Artefact to serve; by default the first certified one.")
]
Uncertified = Annotated[
    bool, typer.Option(help="Serve an artefact without a passing parity certificate.")
]
ModelName = Annotated[
    str | None, typer.Option(help="Name of the model on the server; muq by default.")
]
Version = Annotated[int | None, typer.Option(min=1, help="Version of the model; 1 by default.")]
Outputs = Annotated[
    str | None, typer.Option(help="Outputs to serve, comma-separated; all by default.")
]
Profile = Annotated[
    Literal["latency", "throughput", "cpu"] | None,
    typer.Option(help="Serving options to start from; other options override them."),
]
MaxBatchSize = Annotated[
    int | None, typer.Option(min=1, help="Largest batch in one run; 4 by default.")
]
QueueDelay = Annotated[
    float | None,
    typer.Option(
        min=0,
        max=60_000,
        help="Milliseconds a request waits for others to share its batch; 2 by default.",
    ),
]
QueueSize = Annotated[
    int | None,
    typer.Option(min=1, help="Reject requests when this many wait; no limit by default."),
]
QueueTimeout = Annotated[
    float | None,
    typer.Option(
        min=0.001,
        max=_MOST_SECONDS,
        help="Reject requests that wait longer than this many seconds; no limit by default.",
    ),
]
LengthSeconds = Annotated[
    list[float] | None,
    typer.Option(
        min=0.001,
        max=_MOST_SECONDS,
        help="Length of the waveforms that clients send, warmed up at the start; may be repeated.",
    ),
]
Instances = Annotated[
    int | None, typer.Option(min=1, help="Copies of the model on each GPU or CPU; 1 by default.")
]
Gpu = Annotated[list[int] | None, typer.Option(min=0, help="GPU to run on; may be repeated.")]
Threads = Annotated[
    int | None, typer.Option(min=1, help="CPU threads of each copy; all cores by default.")
]
ResponseCache = Annotated[
    bool, typer.Option("--response-cache", help="Answer repeated audio from the server's cache.")
]
CudaGraphs = Annotated[
    bool, typer.Option("--cuda-graphs", help="Replay recorded CUDA graphs (TensorRT only).")
]
Stream = Annotated[
    bool, typer.Option("--stream", help="Also write the model that tags live streams.")
]
MaxStreams = Annotated[
    int | None,
    typer.Option(min=1, help="Live streams at once; more are refused. 64 by default."),
]
IdleSeconds = Annotated[
    float | None,
    typer.Option(help="Drop a stream that sends nothing for this many seconds; 30 by default."),
]
HopSeconds = Annotated[
    float | None, typer.Option(help="Seconds between a stream's answers; 0.5 by default.")
]
WindowSeconds = Annotated[
    float | None,
    typer.Option(help="Seconds of audio in each answer; the tags' window by default."),
]
TextArtefact = Annotated[
    str | None,
    typer.Option(help="Artefact of a MuQ-MuLan's text tower; by default the first certified one."),
]
LabelSets = Annotated[
    Path | None,
    typer.Option(
        help="Folder of label sets on the server's machine; by default in the model zeroshot."
    ),
]
TensorRt = Annotated[
    str | None,
    typer.Option("--tensorrt", help="With --check: TensorRT version of the server (10.13.3.9)."),
]
ComputeCapability = Annotated[
    list[str] | None,
    typer.Option(help="With --check: compute capability of a server's GPU (9.0); repeatable."),
]
