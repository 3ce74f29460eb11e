"""Options that several commands share: which audio, and where the model runs."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..common.console import progress
from ..common.files import cache_folder
from ..errors import AudioError, UsageError

if TYPE_CHECKING:
    import numpy as np

    from ..runtime.engines.session import Session
    from ..runtime.streaming.local import LocalStreams
    from ..runtime.text.labels import LabelSet
    from ..runtime.text.zero_shot import LabelTagger
    from ..triton_repo.client.label_tagger import ServedLabelTagger
    from ..triton_repo.client.streaming import StreamingClient

_AUDIO_SUFFIXES = {".aac", ".aif", ".aiff", ".flac", ".m4a", ".mp3", ".mp4", ".oga", ".ogg"}
_AUDIO_SUFFIXES |= {".opus", ".wav", ".webm", ".wma"}
_PLACE = "Where the model runs"

AudioPaths = Annotated[list[Path], typer.Argument(help="Audio files, or folders of them.")]
ArtefactName = Annotated[
    str | None,
    typer.Option(
        help="Artefact of the bundle to run; the first certified one by default.",
        rich_help_panel=_PLACE,
    ),
]
TextArtefactName = Annotated[
    str | None,
    typer.Option(
        help="Artefact of the bundle's text tower; the first certified one by default.",
        rich_help_panel=_PLACE,
    ),
]
Threads = Annotated[
    int | None,
    typer.Option(min=1, help="CPU threads; all cores by default.", rich_help_panel=_PLACE),
]
BatchSize = Annotated[
    int, typer.Option(min=1, help="Windows of audio to run at once.", rich_help_panel=_PLACE)
]


@dataclass(frozen=True)
class Local:
    """A bundle on this machine.

    Attributes:
        bundle: its folder.
        artefact: the artefact to run; the first certified one when None.
        threads: CPU threads; all cores when None.
    """

    bundle: Path
    artefact: str | None = None
    threads: int | None = None

    def open_session(self) -> "Session":
        """Open the artefact's session.

        Raises:
            BundleError: the bundle cannot be loaded. SessionError: the engine refused it.
        """
        from ..runtime.load import open_bundle

        return open_bundle(self.bundle, self.artefact, self.threads)

    def open_streams(self, lengths: Mapping[str, float]) -> "LocalStreams":
        """Open the artefact for live streams.

        Args:
            lengths: ``hop_seconds``, ``window_seconds`` and ``first_seconds``, where given.

        Raises:
            BundleError: the bundle cannot be loaded or has no tags. UsageError: impossible lengths.
        """
        from ..runtime.streaming.local import LocalStreams

        return LocalStreams(self.bundle, self.artefact, self.threads, dict(lengths))

    @contextmanager
    def open_label_tagger(
        self, labels: "LabelSet", text_artefact: str | None, no_cache: bool, batch_size: int
    ) -> "Iterator[LabelTagger | ServedLabelTagger]":
        """Embed the labels, then open the artefact to tag with them.

        Args:
            labels: the user's.
            text_artefact: the artefact that embeds them; the first certified one when None.
            no_cache: keep no embeddings in the user's cache.
            batch_size: clips to run at once.

        Raises:
            BundleError: the bundle cannot be loaded or has no text tower.
        """
        from ..runtime.text.zero_shot import LabelTagger

        with progress("Reading labels", len(labels.texts)) as bar:
            # Before the other tower is opened: they need not be in memory together.
            latents = labels.latents(
                lambda texts: self.embed_texts(
                    texts, text_artefact, no_cache, lambda done: bar.advance(steps=done)
                )
            )
        with self.open_session() as session:
            yield LabelTagger(session, labels, latents, batch_size)

    def embed_texts(
        self,
        texts: Sequence[str],
        text_artefact: str | None,
        no_cache: bool = False,
        on_step: Callable[[int], None] = lambda done: None,
    ) -> "np.ndarray":
        """Embed texts with the bundle's text tower: float32 (texts, width).

        Args:
            texts: at least one.
            text_artefact: the artefact to run; the first certified one when None.
            no_cache: keep nothing in the user's cache.
            on_step: called with how many more texts are done.

        Raises:
            BundleError: the bundle cannot be loaded or has no text tower.
        """
        from ..runtime.text.cache import TEXTS_FILE, embed_texts

        cache = None if no_cache else cache_folder() / TEXTS_FILE
        return embed_texts(self.bundle, texts, text_artefact, self.threads, cache, on_step)


@dataclass(frozen=True)
class Served:
    """A model on a Triton server.

    Attributes:
        server: HOST:PORT of its gRPC endpoint.
        model: the model's name on the server; when None the usual one for what is opened.
        timeout_seconds: how long one answer may take; when None the client's own limit.
        bulk: let other requests overtake these, where the model has a queue for that.
    """

    server: str
    model: str | None = None
    timeout_seconds: float | None = None
    bulk: bool = False

    def open_session(self) -> "Session":
        """Connect to a model that takes windows of audio.

        Raises:
            ServerError: the server cannot be reached or has no such model.
            MissingDependencyError: tritonclient is not installed.
        """
        from ..triton_repo.client.session import TIMEOUT_SECONDS, TritonSession

        timeout_seconds = self.timeout_seconds or TIMEOUT_SECONDS
        return TritonSession(self.server, self.model or "muq", timeout_seconds, self.bulk)

    def open_streams(self, lengths: Mapping[str, float]) -> "StreamingClient":
        """Connect to a model that takes live streams.

        Raises:
            UsageError: lengths, which the server has already set.
            ServerError: the server cannot be reached or has no such model.
            MissingDependencyError: tritonclient is not installed.
        """
        from ..triton_repo.client.live_model import MODEL, TIMEOUT_SECONDS
        from ..triton_repo.client.streaming import StreamingClient

        if lengths:
            options = ", ".join(f"--{name.replace('_', '-')}" for name in lengths)
            raise UsageError(f"{options}: only with --bundle; the server has set its own.")
        timeout_seconds = self.timeout_seconds or TIMEOUT_SECONDS
        return StreamingClient(self.server, self.model or MODEL, timeout_seconds)

    @contextmanager
    def open_label_tagger(
        self, labels: "LabelSet", text_artefact: str | None, no_cache: bool, batch_size: int
    ) -> "Iterator[LabelTagger | ServedLabelTagger]":
        """Connect to a model that takes labels; the server embeds them and sets the batch size.

        Raises:
            UsageError: an option that the server decides.
            ServerError: the server cannot be reached or has no such model.
            MissingDependencyError: tritonclient is not installed.
        """
        from ..triton_repo.client.label_tagger import ServedLabelTagger
        from ..triton_repo.client.session import TIMEOUT_SECONDS

        if self.bulk or text_artefact is not None or no_cache:
            raise UsageError(
                "--bulk, --text-artefact and --no-cache are not for labels on a server."
            )
        timeout_seconds = self.timeout_seconds or TIMEOUT_SECONDS
        yield ServedLabelTagger(self.server, labels, self.model or "zeroshot", timeout_seconds)


@dataclass(frozen=True)
class Where:
    """The options that say where the model runs: ``place`` is what they mean."""

    bundle: Annotated[
        Path | None,
        typer.Option(
            "--bundle",
            "-b",
            metavar="FOLDER",
            help="Run the model on this machine, from this bundle.",
            rich_help_panel=_PLACE,
        ),
    ] = None
    server: Annotated[
        str | None,
        typer.Option(
            metavar="HOST:PORT",
            help="Run it on a Triton server, at this gRPC address.",
            rich_help_panel=_PLACE,
        ),
    ] = None
    artefact: ArtefactName = None
    threads: Threads = None
    model: Annotated[
        str | None,
        typer.Option(
            help="Model on the server: muq by default, zeroshot for labels, muq_stream for live "
            "audio.",
            rich_help_panel=_PLACE,
        ),
    ] = None
    timeout_seconds: Annotated[
        float | None,
        typer.Option(
            min=0.1,
            max=86400,
            help="Longest wait for one answer from the server: 300 by default, 10 for live audio.",
            rich_help_panel=_PLACE,
        ),
    ] = None

    @property
    def place(self) -> Local | Served:
        """The place these options name.

        Raises:
            UsageError: neither place or both, or an option that belongs to the other place.
        """
        if self.bundle is not None and self.server is None:
            if self.model is not None or self.timeout_seconds is not None:
                raise UsageError("--model and --timeout-seconds are for --server, not --bundle.")
            return Local(self.bundle, self.artefact, self.threads)
        if self.server is not None and self.bundle is None:
            if self.artefact is not None or self.threads is not None:
                raise UsageError("--artefact and --threads are for --bundle, not --server.")
            return Served(self.server, self.model, self.timeout_seconds)
        raise UsageError("say where to run it: either --bundle FOLDER or --server HOST:PORT.")


@dataclass(frozen=True)
class WhereForFiles(Where):
    """``Where`` for commands that run many windows of audio at once."""

    bulk: Annotated[
        bool,
        typer.Option(
            "--bulk",
            help="Let other requests overtake these on the server, if its model has a bulk queue.",
            rich_help_panel=_PLACE,
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


def audio_files(paths: list[Path]) -> Iterator[tuple[Path, Path]]:
    """Yield every audio file with its path relative to the folder it was found in.

    Raises:
        AudioError: a folder without audio files.
    """
    for path in paths:
        if not path.is_dir():
            yield path, Path(path.name)
            continue
        found = sorted(
            p for p in path.rglob("*") if p.suffix.lower() in _AUDIO_SUFFIXES and not p.is_dir()
        )
        if not found:
            raise AudioError(f"{path}: no audio files in this folder.")
        yield from ((file, file.relative_to(path)) for file in found)
