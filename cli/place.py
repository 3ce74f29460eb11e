"""Where a model runs: in a bundle on this machine, or on a Triton server."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from ..common.console import note, progress
from ..common.files import cache_folder
from ..errors import UsageError
from ..runtime.bundle.shipped import SHIPPED_BUNDLE

if TYPE_CHECKING:
    import numpy as np

    from ..runtime.audio.damage import Tolerance
    from ..runtime.engines.session import Session
    from ..runtime.memory.limit import Fit
    from ..runtime.memory.work import Work
    from ..runtime.streaming.local import LocalStreams
    from ..runtime.text.labels import LabelSet
    from ..runtime.text.zero_shot import LabelTagger
    from ..triton_repo.client.endpoint import Endpoint
    from ..triton_repo.client.label_tagger import ServedLabelTagger
    from ..triton_repo.client.streaming import StreamingClient


MANY_FILES = 4  # of fewer, one may be so long that it had better have all threads


@dataclass(frozen=True)
class Local:
    """A bundle on this machine.

    Everything it opens raises BundleError if the bundle cannot be loaded or lacks what is asked
    of it, and SessionError if the engine refuses the artefact.

    Attributes:
        bundle: its folder; that of muq-mini, which comes with the package, by default.
        artefact: the artefact to run; the first certified one when None.
        threads: CPU threads; all cores when None.
        accuracy: for the fastest artefact in place of ``artefact``: the least worst frame cosine
            that its certificate may have; None to measure nothing.
        most_bytes: the memory that this process may take; None for no limit.
    """

    bundle: Path = SHIPPED_BUNDLE
    artefact: str | None = None
    threads: int | None = None
    accuracy: float | None = None
    most_bytes: int | None = None

    @cached_property
    def chosen(self) -> str | None:
        """The name of the artefact to run; the fastest is measured when it is first asked for."""
        if self.accuracy is None:
            return self.artefact
        from ..runtime.bundle.manifest import load_bundle
        from ..runtime.fastest import fastest

        with progress("Measuring artefacts", None):
            found = fastest(load_bundle(self.bundle), self.accuracy, self.threads)
        note(found.why)
        return found.artefact

    @cached_property
    def model_name(self) -> str:
        """What an answer says of which model gave it: the checkpoint's name."""
        from ..runtime.bundle.manifest import load_bundle

        return load_bundle(self.bundle).source.checkpoint

    @property
    def credit(self) -> str:
        """Who answered, as a line for people who named no model; empty for others."""
        if self.bundle != SHIPPED_BUNDLE:
            return ""
        return f"By {self.model_name}, which comes with muqrt. Use another model with --bundle."

    def fitted(self, work: "Work", batch_size: int = 1, text_artefact: str | None = None) -> "Fit":
        """What fits the limit of memory; all that is wanted, where there is none.

        Args:
            work: what is to be done.
            batch_size: the most windows at once that are wanted.
            text_artefact: for texts, the artefact; the first certified one when None.

        Raises:
            UsageError: not even one window at once fits.
        """
        from ..runtime.bundle.manifest import load_bundle
        from ..runtime.memory.limit import Fit
        from ..runtime.memory.work import Request
        from .memory import fitted

        if self.most_bytes is None:
            return Fit(batch_size)
        bundle = load_bundle(self.bundle)
        if work.task == "texts":
            artefact = bundle.artefact(text_artefact, tower="text")
        else:
            artefact = bundle.artefact(self.chosen)
        request = Request(work, str(self.bundle), artefact.name, self.threads, batch_size)
        return fitted(request, self.most_bytes)

    def open_session(self, files: int = 1) -> "Session":
        """Open the artefact's session for so many files; of many, two run at once unless memory is
        limited."""
        from ..runtime.inference.at_once import FILES_AT_ONCE
        from ..runtime.load import open_bundle

        at_once = FILES_AT_ONCE if files >= MANY_FILES and self.most_bytes is None else 1
        return open_bundle(self.bundle, self.chosen, self.threads, runs_at_once=at_once)

    def open_streams(self, lengths: Mapping[str, float]) -> "LocalStreams":
        """Open the artefact for live streams.

        Args:
            lengths: ``hop_seconds``, ``window_seconds`` and ``first_seconds``, where given.

        Raises:
            UsageError: impossible lengths.
        """
        from ..runtime.memory.work import Work
        from ..runtime.streaming.local import LocalStreams

        self.fitted(Work("stream", lengths=dict(lengths)))
        return LocalStreams(self.bundle, self.chosen, self.threads, dict(lengths))

    @contextmanager
    def open_label_tagger(
        self,
        labels: "LabelSet",
        text_artefact: str | None,
        no_cache: bool,
        batch_size: int,
        tolerance: "Tolerance",
    ) -> "Iterator[LabelTagger | ServedLabelTagger]":
        """Embed the labels, then open the artefact to tag with them.

        Args:
            labels: the user's.
            text_artefact: the artefact that embeds them; the first certified one when None.
            no_cache: keep no embeddings in the user's cache.
            batch_size: clips to run at once.
            tolerance: how much damage of a file is accepted.
        """
        from ..runtime.memory.work import Work
        from ..runtime.text.zero_shot import LabelTagger

        with progress("Reading labels", len(labels.texts)) as bar:
            # Before the other tower is opened: they need not be in memory together.
            latents = labels.latents(
                lambda texts: self.embed_texts(
                    texts, text_artefact, no_cache, lambda done: bar.advance(steps=done)
                )
            )
        fit = self.fitted(Work("latents"), batch_size)
        unlearned = self.unlearned(labels.labels, text_artefact)
        with self.open_session() as session:
            yield LabelTagger(
                session, labels, latents, fit.batch_size, tolerance, fit.seconds_ahead, unlearned
            )

    def unlearned(
        self, texts: Sequence[str], text_artefact: str | None
    ) -> "tuple[str, ...] | None":
        """The texts' words that the model did not learn; None where its bundle does not say."""
        from ..runtime.bundle.manifest import load_bundle
        from ..runtime.text.encoder import learned_words

        bundle = load_bundle(self.bundle)
        words = learned_words(bundle, bundle.artefact(text_artefact, tower="text"))
        return None if words is None else words.unlearned(texts)

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
        """
        from ..runtime.memory.work import Work
        from ..runtime.text.cache import TEXTS_FILE, embed_texts

        self.fitted(Work("texts"), text_artefact=text_artefact)
        cache = None if no_cache else cache_folder() / TEXTS_FILE
        return embed_texts(self.bundle, texts, text_artefact, self.threads, cache, on_step)


@dataclass(frozen=True)
class Served:
    """A model on a Triton server.

    Everything it opens raises ServerError if the server cannot be reached or has no such model, and
    MissingDependencyError if tritonclient is not installed.

    Attributes:
        server: HOST:PORT of its gRPC endpoint.
        model: the model's name on the server; when None the usual one for what is opened.
        timeout_seconds: how long one answer may take; when None the client's own limit.
        bulk: let other requests overtake these, where the model has a queue for that.
        ca: file with the authority of the server's certificate; plain gRPC when None.
        token: that the server asks for; MUQRT_TOKEN when None.
    """

    server: str
    model: str | None = None
    timeout_seconds: float | None = None
    bulk: bool = False
    ca: Path | None = None
    token: str | None = field(default=None, repr=False)

    @property
    def endpoint(self) -> "Endpoint":
        """The server, with what it takes to be let in."""
        from ..triton_repo.client.endpoint import Endpoint

        given = {} if self.token is None else {"token": self.token}
        return Endpoint(self.server, self.ca, **given)

    @property
    def model_name(self) -> str:
        """What an answer says of which model gave it: the server's address, and the name there if
        it was given."""
        return self.server if self.model is None else f"{self.model} on {self.server}"

    @property
    def credit(self) -> str:
        """Empty: the user named the server."""
        return ""

    def fitted(self, work: "Work", batch_size: int = 1) -> "Fit":
        """All that is wanted: this process has no model."""
        from ..runtime.memory.limit import Fit

        return Fit(batch_size)

    def open_session(self, files: int = 1) -> "Session":
        """Connect to a model that takes windows of audio."""
        from ..triton_repo.client.session import TIMEOUT_SECONDS, TritonSession

        timeout_seconds = self.timeout_seconds or TIMEOUT_SECONDS
        return TritonSession(self.endpoint, self.model or "muq", timeout_seconds, self.bulk)

    def open_streams(self, lengths: Mapping[str, float]) -> "StreamingClient":
        """Connect to a model that takes live streams.

        Raises:
            UsageError: lengths, which the server has already set.
        """
        from ..triton_repo.client.live_model import MODEL, TIMEOUT_SECONDS
        from ..triton_repo.client.streaming import StreamingClient

        if lengths:
            options = ", ".join(f"--{name.replace('_', '-')}" for name in lengths)
            raise UsageError(f"{options}: only with --bundle; the server has set its own.")
        timeout_seconds = self.timeout_seconds or TIMEOUT_SECONDS
        return StreamingClient(self.endpoint, self.model or MODEL, timeout_seconds)

    @contextmanager
    def open_label_tagger(
        self,
        labels: "LabelSet",
        text_artefact: str | None,
        no_cache: bool,
        batch_size: int,
        tolerance: "Tolerance",
    ) -> "Iterator[LabelTagger | ServedLabelTagger]":
        """Connect to a model that takes labels; the server embeds them and sets the batch size.

        Raises:
            UsageError: an option that the server decides.
        """
        from ..triton_repo.client.label_tagger import ServedLabelTagger
        from ..triton_repo.client.session import TIMEOUT_SECONDS

        if self.bulk or text_artefact is not None or no_cache:
            raise UsageError(
                "--bulk, --text-artefact and --no-cache are not for labels on a server."
            )
        timeout_seconds = self.timeout_seconds or TIMEOUT_SECONDS
        yield ServedLabelTagger(
            self.endpoint, labels, self.model or "zeroshot", timeout_seconds, tolerance
        )
