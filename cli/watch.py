"""``muqrt watch``."""

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..common.closing import Closing
from ..common.console import Json, show
from ..errors import UsageError
from ..runtime.audio.damage import Damages
from ..runtime.bundle.shipped import SHIPPED_BUNDLE
from .damage import DamageOptions
from .embed import Window
from .memory import MaxMemory, size_bytes
from .options import (
    AUTO,
    ArtefactName,
    BatchSize,
    Nice,
    Threads,
    on_this_machine,
    place_option,
    thread_count,
)
from .outputs.run_manifest import RunManifest
from .parameters import expand_options
from .place import Local

if TYPE_CHECKING:
    import numpy as np

    from ..errors import AudioError
    from ..runtime.audio.damage import Tolerance
    from ..runtime.audio.tracks import AudioFile
    from ..runtime.bundle.manifest import Bundle
    from ..runtime.inference.windows import WindowLength
    from ..runtime.memory.limit import Fit
    from ..runtime.model import Model
    from ..runtime.search.update import Embeddings
    from ..runtime.search.watcher import Event

# Looking through the folder takes no more than a twentieth of the time.
_REST = 19
# A model that nothing has been asked of for so long gives its memory back.
_IDLE_SECONDS = 60.0

commands = typer.Typer()


@commands.command()
@expand_options
def watch(
    *,
    music: Annotated[Path, typer.Argument(help="Folder of music, watched with its subfolders.")],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Folder of .npy files, as muqrt embed fills it."),
    ] = None,
    index: Annotated[
        Path | None,
        typer.Option(help="Folder of an index, as muqrt search keeps it for a MuQ-MuLan."),
    ] = None,
    bundle: Annotated[
        Path,
        place_option(
            "--bundle",
            "-b",
            metavar="FOLDER",
            show_default=False,
            callback=on_this_machine,
            help="Bundle folder, or hf://USER/NAME on the hub; muq-mini's, which comes with muqrt, "
            "by default.",
        ),
    ] = SHIPPED_BUNDLE,
    artefact: ArtefactName = None,
    threads: Threads = AUTO,
    nice: Nice = 0,
    max_memory: MaxMemory = None,
    batch_size: BatchSize = 1,
    damage: DamageOptions,
    window: Window = None,
    settle_seconds: Annotated[
        float,
        typer.Option(
            min=0.1,
            max=3600,
            help="Take a file once it has not changed for so long: it may still be copied.",
        ),
    ] = 2.0,
    poll_seconds: Annotated[
        float | None,
        typer.Option(
            min=1,
            max=86400,
            help="Look through the folder this often, in place of waiting for the system to tell "
            "of changes. On network shares 30 s.",
        ),
    ] = None,
    once: Annotated[
        bool, typer.Option("--once", help="End when everything is up to date.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Keep a folder's embeddings up to date while files come, change, move and go.

    Ends with Ctrl-C, and continues where it stopped.
    """
    from ..runtime.bundle.manifest import load_bundle
    from ..runtime.inference.windows import window_length
    from ..runtime.memory.work import Work
    from ..runtime.search.notices import Notices
    from ..runtime.search.settling import Settling
    from ..runtime.search.watcher import Watcher

    if (output is None) == (index is None):
        raise UsageError("say where the embeddings go: --output FOLDER, or --index FOLDER.")
    if not music.is_dir():
        raise UsageError(f"{music}: no such folder.")
    length = window_length(window)
    loaded = load_bundle(bundle)
    most_bytes = size_bytes(max_memory)
    name = loaded.artefact(artefact).name
    place = Local(bundle, name, thread_count(threads), most_bytes=most_bytes)
    with ExitStack() as held:
        home = output or index or music
        if output is not None:
            opened, manifest = _results(loaded, place, output, length)
            held.enter_context(manifest.claimed())
        else:
            opened = _index(loaded, place, home, length)
        in_index = index is not None and loaded.joint is not None
        work = Work("latents") if in_index else Work("embeddings", length)
        fit = place.fitted(work, batch_size)
        model = held.enter_context(
            _LazyModel(place, fit, damage.damages.tolerance, in_index, length)
        )
        tell = partial(_show, music, damage.damages, as_json)
        settling = Settling(settle_seconds)
        watcher = Watcher(music, home, opened, model.embed_files, settling, tell)
        every_seconds = settle_seconds if once else poll_seconds
        notices = held.enter_context(Notices(music, home, every_seconds))
        while True:
            if output is not None:
                manifest.write()  # another process may have withdrawn it
            if watcher.look():
                continue
            if once and settling.wait_seconds is None:
                break
            model.close_if_idle()
            notices.wait(
                _REST * watcher.scan_seconds, _soonest(settling.wait_seconds, model.idle_in_seconds)
            )


def _soonest(*seconds: float | None) -> float | None:
    return min((each for each in seconds if each is not None), default=None)


def _results(
    bundle: "Bundle", place: Local, folder: Path, window: "WindowLength | None"
) -> "tuple[Callable[[], Embeddings], RunManifest]":
    """What opens a folder of .npy files, and the note in it."""
    from ..runtime.inference.windows import WindowingConfig
    from ..runtime.search.result_folder import ResultFolder

    windowings = [WindowingConfig.of(bundle.framing, each).facts for each in (window, None)]
    digest = bundle.artefact(place.artefact).digest
    return partial(ResultFolder, folder), RunManifest(folder, digest, "embeddings", *windowings)


def _index(
    bundle: "Bundle", place: Local, folder: Path, window: "WindowLength | None"
) -> "Callable[[], Embeddings]":
    """What opens an index: of latents, where music and words share a space, else of embeddings."""
    from ..runtime.inference.clips import ClippingConfig
    from ..runtime.inference.windows import WindowingConfig, refuse_window
    from ..runtime.search.index import open_index

    artefact, joint = bundle.artefact(place.artefact), bundle.joint
    if joint is not None:
        refuse_window(window, "latents")
        facts = ClippingConfig(bundle.framing, joint.clip_samples).facts
        return partial(open_index, folder, artefact.digest, joint.width, facts)
    (features,) = (spec for spec in artefact.outputs if spec.name == "features")
    facts = WindowingConfig.of(bundle.framing, window).facts
    return partial(open_index, folder, artefact.digest, int(features.shape[-1]), facts)


class _LazyModel(Closing):
    """A model that is opened when it is needed, and closed when it has not been for a while."""

    def __init__(
        self,
        place: Local,
        fit: "Fit",
        tolerance: "Tolerance",
        latents: bool,
        window: "WindowLength | None",
    ) -> None:
        self._place, self._fit, self._tolerance = place, fit, tolerance
        self._latents, self._window = latents, window
        self._model: Model | None = None
        self._used_seconds = 0.0

    def embed_files(
        self, paths: "Iterable[AudioFile]"
    ) -> "Iterator[tuple[AudioFile, np.ndarray | AudioError]]":
        """Embed many files, as ``Model`` does."""
        if self._model is None:
            from ..runtime.model import Model

            session = self._place.open_session()
            self._model = Model(
                session,
                batch_size=self._fit.batch_size,
                tolerance=self._tolerance,
                seconds_ahead=self._fit.seconds_ahead,
            )
        try:
            if self._latents:
                yield from self._model.embed_audio_files(paths)
            else:
                yield from self._model.embed_files(paths, window=self._window)
        finally:
            self._used_seconds = time.monotonic()

    @property
    def idle_in_seconds(self) -> float | None:
        """When ``close_if_idle`` will close it; None where it is closed."""
        if self._model is None:
            return None
        return max(0.0, self._used_seconds + _IDLE_SECONDS - time.monotonic())

    def close_if_idle(self) -> None:
        """Close it, if it has not been used for a minute."""
        if self.idle_in_seconds == 0:
            self.close()

    def close(self) -> None:
        """Give its memory back."""
        if self._model is not None:
            self._model.close()
        self._model = None


def _show(music: Path, damages: Damages, as_json: bool, event: "Event") -> None:
    audio = music / event.name
    facts = {"type": event.kind, "audio": str(audio), **damages.facts(audio)}
    if event.kind == "failed":
        facts["error"] = event.detail
    if event.kind == "moved":
        facts["from"] = str(music / event.detail)
    line = {
        "failed": f"FAILED {audio}: {event.detail}",
        "moved": f"{audio}: moved from {music / event.detail}",
    }.get(event.kind, f"{audio}: {event.kind}")
    show(as_json, facts, line, *damages.lines(audio))
    damages.forget(audio)
