"""From a bundle's folder to a model that is ready for use."""

import logging
from functools import partial
from os import PathLike, fspath
from pathlib import Path
from typing import Any, Literal

from ..errors import UsageError
from .bundle.manifest import load_bundle
from .bundle.shipped import SHIPPED_BUNDLE
from .engines.open_session import open_session
from .engines.session import Session
from .fastest import fastest
from .hub.fetch import local_folder
from .model import Model
from .text.encoder import open_text_encoder

_log = logging.getLogger(__name__)


def load(
    folder: str | PathLike[str] | None = None,
    artefact: str | None = None,
    threads: int | None = None,
    allow_uncertified: bool = False,
    device: str | None = None,
    text_artefact: str | None = None,
    local_files_only: bool = False,
    precision: Literal["auto"] | None = None,
    accuracy: float | None = None,
    runs_at_once: int = 1,
    **options: Any,
) -> Model:
    """Load a bundle's artefact on this machine.

    A pickled model is opened again by its path, with the same arguments.

    Args:
        folder: the bundle: its folder, or ``hf://user/name`` or ``hf://user/name@revision`` on the
            Hugging Face hub; when left out muq-mini's, which comes with the package. The model's
            ``checkpoint`` says which it is.
        artefact: its name; the bundle's first certified one when left out.
        threads: for the engine; all physical cores when left out.
        allow_uncertified: accept an artefact without a passing parity certificate.
        device: "cpu", "cuda" or, for an ONNX artefact, "tensorrt" or "tensorrt-rtx"; of several
            GPUs "cuda:1". The engine's own when left out.
        text_artefact: name of a MuQ-MuLan's text tower; the first certified one when left out. It
            is opened when texts are first asked for.
        local_files_only: for a bundle on the hub: open what was fetched before, without asking.
        precision: "auto" takes the fastest certified artefact, measured once on this machine and
            remembered in the user's cache (``fastest`` says how), in place of ``artefact``.
        accuracy: with "auto", the least worst frame cosine that its certificate may have.
        runs_at_once: how many files ``embed_files`` and the like run at once, each on its share of
            the threads; for an ONNX artefact on the CPU. Two are up to a third faster than one
            after another, and need the memory of two windows.
        options: ``Model``'s ``overlap_seconds``, ``batch_size`` and ``tolerance``.

    Raises:
        UsageError: the folder is not a path, or options that do not go together.
        BundleError: not a bundle, changed since it was exported, or not certified.
        SessionError: the engine refused the artefact. HubError: the hub refused, or cannot be
            reached and nothing was fetched before.
    """
    is_auto = _is_auto(precision, accuracy, artefact)
    folder = _local(folder, local_files_only)
    if is_auto:
        found = fastest(load_bundle(fspath(folder)), accuracy or 0.0, threads, device)
        _log.info("%s", found.why)
        artefact = found.artefact
    arguments = threads, allow_uncertified, device
    open_texts = partial(open_text_encoder, folder, text_artefact, *arguments)
    session = open_bundle(folder, artefact, *arguments, runs_at_once=runs_at_once)
    model = Model(session, open_texts=open_texts, **options)
    absolute = fspath(Path(folder).absolute())  # another process may be in another folder
    options |= {"text_artefact": text_artefact, "runs_at_once": runs_at_once}
    model.reopened_by(partial(load, absolute, artefact, *arguments, **options))
    return model


def open_bundle(
    folder: str | PathLike[str] | None = None,
    artefact: str | None = None,
    threads: int | None = None,
    allow_uncertified: bool = False,
    device: str | None = None,
    local_files_only: bool = False,
    runs_at_once: int = 1,
) -> Session:
    """The session of a bundle's artefact; arguments and errors are those of ``load``."""
    bundle = load_bundle(fspath(_local(folder, local_files_only)))
    chosen = bundle.artefact(artefact, allow_uncertified=allow_uncertified)
    return open_session(bundle, chosen, threads, device, runs_at_once=runs_at_once)


def _local(folder: str | PathLike[str] | None, local_files_only: bool) -> str | PathLike[str]:
    """A bundle's folder on this machine."""
    if folder is None:
        return SHIPPED_BUNDLE
    if not isinstance(folder, (str, PathLike)):
        raise UsageError(f"a bundle's folder is needed, not {folder!r}: muqrt.load('mini/').")
    found: str | PathLike[str] = local_folder(folder, local_files_only)
    return found


def _is_auto(precision: str | None, accuracy: float | None, artefact: str | None) -> bool:
    """Whether the artefact is to be chosen by its speed.

    Raises:
        UsageError: another precision than "auto", or options that do not go together.
    """
    if precision is None:
        if accuracy is not None:
            raise UsageError("accuracy goes with precision 'auto'.")
        return False
    if precision != "auto":
        raise UsageError(f"precision {precision!r}: choose 'auto', or name an artefact instead.")
    if artefact is not None:
        raise UsageError(f"artefact {artefact!r} and precision 'auto': choose one.")
    return True
