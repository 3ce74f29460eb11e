"""Options that several commands share: which audio, and where the model runs."""

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from ..errors import UsageError
from ..runtime.bundle.shipped import EXPORT_YOUR_OWN, SHIPPED_BUNDLE
from .memory import MaxMemory, size_bytes
from .place import Local, Served

if TYPE_CHECKING:
    from ..runtime.engines.session import Session


def place_option(*names: str, **settings: Any) -> Any:
    """An option that the help lists under "Where the model runs"."""
    return typer.Option(*names, rich_help_panel="Where the model runs", **settings)


def _no_bundle() -> Path:
    raise UsageError(
        "name the bundle, and with --checkpoint what it was made from. The one that comes with "
        f"muqrt stays as it is: make your own with {EXPORT_YOUR_OWN}."
    )


def on_this_machine(context: typer.Context, given: Any) -> Any:
    """The callback of options and arguments that name bundles: a bundle on the hub is fetched, and
    its folder here takes the place of its address."""
    if context.resilient_parsing:  # the shell asks how a word goes on
        return given
    from ..runtime.hub.address import is_hub_address

    several = given if isinstance(given, (list, tuple)) else [given]
    if not any(map(is_hub_address, several)):
        return given
    from ..runtime.hub.fetch import local_folder

    fetched = [local_folder(each) for each in several]
    return fetched if isinstance(given, (list, tuple)) else fetched[0]


OwnBundle = Annotated[
    Path,
    typer.Argument(
        default_factory=_no_bundle,
        show_default=False,
        callback=on_this_machine,
        help="Folder that muqrt export wrote.",
    ),
]
UsualBundle = Annotated[
    Path,
    typer.Argument(
        help="Bundle folder, or hf://USER/NAME on the hub; muq-mini's, which comes with muqrt, by "
        "default.",
        show_default=False,
        callback=on_this_machine,
    ),
]
AudioPaths = Annotated[list[Path], typer.Argument(help="Audio files, or folders of them.")]
Threshold = Annotated[
    float | None,
    typer.Option(
        min=0, max=1, help="Lowest probability of a tag to show; each tag's own by default."
    ),
]
Top = Annotated[int | None, typer.Option(min=1, help="Show at most this many tags.")]
ArtefactName = Annotated[
    str | None,
    place_option(help="Artefact of the bundle to run; the first certified one by default."),
]
TextArtefactName = Annotated[
    str | None,
    place_option(help="Artefact of the bundle's text tower; the first certified one by default."),
]
AUTO = "auto"
Threads = Annotated[
    str,
    place_option(
        metavar="auto|all|N",
        help="CPU threads; auto: every core, but for one that a machine of up to four keeps for "
        "other programs.",
    ),
]


def thread_count(threads: str) -> int | None:
    """What ``--threads`` means; None for as many as the engine chooses.

    Raises:
        UsageError: neither auto, nor all, nor a number above 0.
    """
    if threads == AUTO:
        from ..runtime.engines.cpus import considerate_threads

        return considerate_threads()
    if threads == "all":
        return None
    if not (threads.isascii() and threads.isdigit() and int(threads) > 0):
        raise UsageError(f"--threads {threads!r}: give auto, all or a number of threads.")
    return int(threads)


def _lower_priority(nice: int) -> int:
    if nice:
        lowest = max(nice, os.getpriority(os.PRIO_PROCESS, 0))
        os.setpriority(os.PRIO_PROCESS, 0, lowest)  # threads that begin later have it, too
    return nice


Nice = Annotated[
    int,
    place_option(
        min=0,
        max=19,
        callback=_lower_priority,
        help="Give way to other programs: 19 takes only what they leave, 0 an equal share.",
    ),
]
Precision = Annotated[
    Literal["auto"] | None,
    place_option(
        help="auto: the fastest of the bundle's certified artefacts, measured once on this machine "
        "and remembered."
    ),
]
Accuracy = Annotated[
    float | None,
    place_option(
        min=0,
        max=1,
        help="With --precision auto: the least worst frame cosine that its certificate may have, "
        "for example 0.9995.",
    ),
]
# Where there is no choice of windows, to say why.
NoWindow = Annotated[str | None, typer.Option("--window", hidden=True)]
BatchSize = Annotated[int, place_option(min=1, help="Windows of audio to run at once.")]


def accuracy_of(
    precision: str | None, accuracy: float | None, artefact: str | None = None
) -> float | None:
    """The accuracy that the fastest artefact needs; None unless it is asked for.

    Raises:
        UsageError: options that do not go together.
    """
    if precision is None:
        if accuracy is not None:
            raise UsageError("--accuracy goes with --precision auto.")
        return None
    if artefact is not None:
        raise UsageError("--artefact and --precision auto: choose one.")
    return accuracy or 0.0


@dataclass(frozen=True)
class Where:
    """The options that say where the model runs: ``place`` is what they mean."""

    bundle: Annotated[
        Path | None,
        place_option(
            "--bundle",
            "-b",
            metavar="FOLDER",
            callback=on_this_machine,
            help="Run this bundle's model on this machine, fetched from the hub if it is "
            "hf://USER/NAME; muq-mini, which comes with muqrt, by default.",
        ),
    ] = None
    server: Annotated[
        str | None,
        place_option(metavar="HOST:PORT", help="Run it on a Triton server, at this gRPC address."),
    ] = None
    ca: Annotated[
        Path | None,
        place_option(
            metavar="FILE",
            help="Authority of the server's certificate, PEM; the connection is TLS.",
        ),
    ] = None
    token: Annotated[
        str | None,
        place_option(
            help="Token that the server asks for. Other users can see options: rather set "
            "MUQRT_TOKEN.",
        ),
    ] = None
    artefact: ArtefactName = None
    precision: Precision = None
    accuracy: Accuracy = None
    threads: Threads = AUTO
    nice: Nice = 0
    max_memory: MaxMemory = None
    model: Annotated[
        str | None,
        place_option(
            help="Model on the server: muq by default, zeroshot for labels, muq_stream for live "
            "audio."
        ),
    ] = None
    timeout_seconds: Annotated[
        float | None,
        place_option(
            min=0.1,
            max=86400,
            help="Longest wait for one answer from the server: 300 by default, 10 for live audio.",
        ),
    ] = None

    @property
    def place(self) -> Local | Served:
        """The place these options name.

        Raises:
            UsageError: both places, or an option that belongs to the other place.
        """
        if self.server is None:
            if self.model is not None or self.timeout_seconds is not None:
                raise UsageError("--model and --timeout-seconds are for --server, not --bundle.")
            if self.ca is not None or self.token is not None:
                raise UsageError("--ca and --token are for --server, not --bundle.")
            accuracy = accuracy_of(self.precision, self.accuracy, self.artefact)
            threads = thread_count(self.threads)
            most = size_bytes(self.max_memory)
            if most is not None and accuracy is not None:
                raise UsageError(
                    "--max-memory and --precision auto: choose one. muqrt info --precision auto "
                    "names the fastest artefact; name it with --artefact."
                )
            return Local(self.bundle or SHIPPED_BUNDLE, self.artefact, threads, accuracy, most)
        if self.bundle is not None:
            raise UsageError("--bundle and --server are two places to run the model; choose one.")
        if self.artefact is not None or self.threads != AUTO:
            raise UsageError("--artefact and --threads are for --bundle, not --server.")
        if self.precision is not None or self.accuracy is not None:
            raise UsageError("--precision and --accuracy are for --bundle, not --server.")
        if self.max_memory is not None:
            raise UsageError("--max-memory is for --bundle, not --server.")
        return Served(self.server, self.model, self.timeout_seconds, ca=self.ca, token=self.token)


@dataclass(frozen=True)
class WhereForFiles(Where):
    """``Where`` for commands that run many windows of audio at once."""

    bulk: Annotated[
        bool,
        place_option(
            "--bulk",
            help="Let other requests overtake these on the server, if its model has a bulk queue.",
        ),
    ] = False
    batch_size: BatchSize = 1

    @property
    def place(self) -> Local | Served:
        """The place these options name.

        Raises:
            UsageError: as for ``Where``, or bulk without a server.
        """
        place = super().place
        if isinstance(place, Served):
            return replace(place, bulk=self.bulk)
        if self.bulk:
            raise UsageError("--bulk is for --server, not --bundle.")
        return place

    def open_session(self, files: int) -> "Session":
        """Open the place's session for so many files; windows of several go together in batches,
        or, without batches, two files run at once."""
        return self.place.open_session(files if self.batch_size == 1 else 1)


@dataclass(frozen=True, kw_only=True)
class AudioToArrays(WhereForFiles):
    """Which audio a model turns into arrays, where it runs, and where the arrays go."""

    audio: AudioPaths
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="For one audio file, an .npy file to write. For several, a folder to fill with "
            "one .npy file each; files that are already there are kept, so that an interrupted "
            "run can be continued.",
        ),
    ] = None
