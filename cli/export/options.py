"""Options and helpers of the commands that export and compare."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ...common.environment import import_extra
from ...common.process.allocator import keep_freed_memory
from ...errors import UsageError

if TYPE_CHECKING:
    from ...export.parity.proof import OnStep, Proof
    from ...export.sources.head import TagHead
    from ...export.sources.score_head import ScoreHead
    from ...runtime.bundle.manifest import Bundle

_KEPT_BYTES = (2 << 30) - 1  # the reference's activations come and go with every excerpt

Verbose = Annotated[
    bool,
    typer.Option("--verbose", help="Also show every output on every audio, not only the worst."),
]


@dataclass(frozen=True)
class ProofOptions:
    """The options that say what artefacts are compared on, besides the checkpoint."""

    music: Annotated[
        list[Path] | None,
        typer.Option(help="Music to compare on; the clips that come with muqrt by default."),
    ] = None
    head: Annotated[
        Path | None,
        typer.Option(
            help="Folder of a tagging head, by default the checkpoint's own, in tags/; or a file: "
            "a head that was trained elsewhere, or JSON or TOML that describes one."
        ),
    ] = None
    rvq: Annotated[
        Path | None,
        typer.Option(
            help="Folder of a fitted RVQ for the tokens; the checkpoint's own by default."
        ),
    ] = None


def chosen_head(checkpoint: str, path: Path | None) -> "TagHead | ScoreHead | None":
    """Load the head at ``path``, by default the checkpoint's own; None if it has none."""
    from ...export.sources.head import find_head
    from ...export.sources.score_head import load_head

    path = path or find_head(checkpoint)
    return None if path is None else load_head(path)


def proof_of(
    bundle: "Bundle", checkpoint: str, options: ProofOptions, on_step: "OnStep"
) -> "Proof":
    """Load what a bundle's artefacts are compared with.

    The checkpoint's own head and RVQ are read only where the bundle has tags and tokens: it may
    have been made without.

    Args:
        bundle: whose artefacts.
        checkpoint: the checkpoint's name or folder.
        options: the music, head and RVQ.
        on_step: called after each step with what was done.
    """
    from ...export.parity.excerpt import excerpts
    from ...export.parity.proof import Proof
    from ...export.sources.checkpoint import load_source
    from ...export.sources.rvq import load_token_rvq, own_rvq

    loaded = load_source(checkpoint)
    head = token_rvq = None
    if bundle.tagging is not None or options.head is not None:
        head = chosen_head(checkpoint, options.head)
    if options.rvq is not None:
        token_rvq = load_token_rvq(options.rvq, loaded)
    elif bundle.tokenizer is not None:
        token_rvq = own_rvq(loaded)
    music = excerpts(options.music or [], bundle.framing.window_samples)
    return Proof(loaded, head, token_rvq, music, on_step)


def require_no_proof_options(options: ProofOptions) -> None:
    """Raise UsageError for options that mean nothing without a checkpoint."""
    given = [name for name, value in vars(options).items() if value]
    if given:
        raise UsageError(
            f"--{given[0]} goes with --checkpoint: without it the bundle's stored "
            "answers are what artefacts are compared with."
        )


def refuse_shipped(bundle: Path) -> None:
    """Raise UsageError for a bundle that is not to be written to: the one that came with the
    package, or one that was fetched from the hub."""
    from ...runtime.bundle.shipped import EXPORT_YOUR_OWN, is_shipped
    from ...runtime.hub.fetch import is_fetched

    if is_shipped(bundle):
        raise UsageError(
            f"{bundle}: belongs to the installed package, and an update would replace it. Copy the "
            f"folder and name the copy, or make a bundle with {EXPORT_YOUR_OWN}."
        )
    if is_fetched(bundle):
        raise UsageError(
            f"{bundle}: was fetched from the hub, and others read it there. Copy the folder, name "
            "the copy, and muqrt push it to a repository of yours."
        )


def prepare() -> None:
    """Make ready to export or build.

    Raises:
        MissingDependencyError: onnx or torch is not installed.
    """
    import_extra("export", "onnx", "torch")
    keep_freed_memory(_KEPT_BYTES)
