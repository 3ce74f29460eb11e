"""What ``muqrt repository`` can be told; defaults are in ``options.py``."""

from pathlib import Path
from typing import Annotated, Literal

import typer

Folder = Annotated[
    Path | None, typer.Argument(metavar="BUNDLE", help="Folder that muqrt export wrote.")
]
SameFolder = Annotated[
    Path | None, typer.Option("--bundle", "-b", help="The same as the argument BUNDLE.")
]
Output = Annotated[
    Path | None, typer.Option("--output", "-o", help="Model repository to write the model into.")
]
Check = Annotated[
    Path | None,
    typer.Option(metavar="MODELS", help="Write nothing: check this repository against BUNDLE."),
]
Artefact = Annotated[
    str | None, typer.Option(help="Artefact to serve; the first certified one by default.")
]
Uncertified = Annotated[
    bool, typer.Option(help="Serve an artefact without a passing parity certificate.")
]
ModelName = Annotated[str, typer.Option(help="Name of the model on the server.")]
Version = Annotated[int | None, typer.Option(min=1, help="The version's number; 1.")]
Outputs = Annotated[
    str | None, typer.Option(help="Comma-separated: which outputs to serve; all by default.")
]
Profile = Annotated[
    Literal["latency", "throughput", "cpu"] | None,
    typer.Option(help="Options to begin from; those given beside it win."),
]
MaxBatchSize = Annotated[int | None, typer.Option(min=1, help="Largest batch in one run; 4.")]
PreferredBatchSize = Annotated[
    list[int] | None,
    typer.Option(min=1, help="A batch of such a size waits for no others; may be repeated."),
]
QueueDelay = Annotated[
    float | None,
    typer.Option(min=0, max=60_000, help="How long a request waits for others to batch with; 2."),
]
QueueSize = Annotated[
    int | None, typer.Option(min=1, help="Bound the queue: further requests are rejected.")
]
QueueTimeout = Annotated[
    float | None,
    typer.Option(min=0.001, max=86_400, help="Bound the wait: longer ones are rejected."),
]
BulkQueueSize = Annotated[
    int | None,
    typer.Option(min=1, help="A second queue, for requests of priority 2, whom others overtake."),
]
BulkQueueTimeout = Annotated[
    float | None, typer.Option(min=0.001, max=86_400, help="How long those may wait.")
]
LengthSeconds = Annotated[
    list[float] | None,
    typer.Option(
        min=0.001, max=86_400, help="Of waveforms worth sending, warmed up; may be repeated."
    ),
]
Instances = Annotated[
    int | None, typer.Option(min=1, help="Copies of the model, on each of the GPUs; 1.")
]
Gpu = Annotated[
    list[int] | None, typer.Option(min=0, help="Number of a GPU to run on; may be repeated.")
]
Threads = Annotated[
    int | None, typer.Option(min=1, help="CPU threads of each copy; all cores by default.")
]
ResponseCache = Annotated[
    bool, typer.Option("--response-cache", help="Answer audio that was sent before from memory.")
]
CudaGraphs = Annotated[
    bool, typer.Option("--cuda-graphs", help="TensorRT only: replay recorded launches.")
]
Resource = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME:COUNT", help="What a copy takes while it runs, of what models share."
    ),
]
ResourcePriority = Annotated[
    int | None, typer.Option(min=1, help="At 2 it is given half as many turns as at 1; 1.")
]
Stream = Annotated[
    bool, typer.Option("--stream", help="Write the model that tags live streams too.")
]
MaxStreams = Annotated[
    int | None, typer.Option(min=1, help="Live streams at once; more are refused.")
]
IdleSeconds = Annotated[
    float | None, typer.Option(help="A stream of which nothing comes so long is dropped.")
]
HopSeconds = Annotated[float | None, typer.Option(help="How often a stream is answered.")]
WindowSeconds = Annotated[float | None, typer.Option(help="How much audio such an answer is for.")]
TextArtefact = Annotated[
    str | None,
    typer.Option(
        help="Of a MuQ-MuLan, the artefact for texts; the first certified one by default."
    ),
]
LabelSets = Annotated[
    Path | None,
    typer.Option(
        help="Folder of label sets on the server's machine, for zeroshot; in the model by default."
    ),
]
TensorRt = Annotated[
    str | None,
    typer.Option("--tensorrt", help="With --check: the server's TensorRT, as 10.13.3.9."),
]
ComputeCapability = Annotated[
    list[str] | None,
    typer.Option(help="With --check: of the server's GPU, as 9.0; may be repeated."),
]
