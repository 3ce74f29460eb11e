"""What the commands that export and prove have in common."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ...errors import MissingDependencyError

if TYPE_CHECKING:
    from ...export.sources.head import TagHead
    from ...export.sources.rvq import TokenRvq
    from ...reference.checkpoint import Checkpoint
    from ...runtime.bundle.manifest import Bundle

Music = Annotated[
    list[Path] | None,
    typer.Option("--music", help="Music to compare on; clips that come with muqrt by default."),
]

Head = Annotated[
    Path | None,
    typer.Option(
        help="Folder of a tagger's head; the folder tags/ in the checkpoint's, where there is one."
    ),
]

Rvq = Annotated[
    Path | None,
    typer.Option(
        help="Folder of a fitted RVQ whose tokens to give; the checkpoint's own by default."
    ),
]


def require_torch() -> None:
    """Raise MissingDependencyError unless exporting is possible."""
    try:
        import onnx  # noqa: F401
        import torch  # noqa: F401
    except ImportError as error:
        raise MissingDependencyError(
            f"{error.name} is needed for this. Run: pip install 'muqrt[export]'"
        ) from None


def chosen_head(checkpoint: str, folder: Path | None) -> "TagHead | None":
    """The head in ``folder``, or else the checkpoint's own, or none."""
    from ...export.sources.head import find_head, load_tag_head

    folder = folder or find_head(checkpoint)
    return None if folder is None else load_tag_head(folder)


def chosen_rvq(checkpoint: "Checkpoint", folder: Path | None) -> "TokenRvq":
    """The RVQ in ``folder``, or else the checkpoint's own."""
    from ...export.sources.rvq import load_token_rvq, own_rvq

    return own_rvq(checkpoint) if folder is None else load_token_rvq(folder, checkpoint)


def proof_of(
    bundle: "Bundle", name: str, checkpoint: "Checkpoint", head: Path | None, rvq: Path | None
) -> "tuple[TagHead | None, TokenRvq | None]":
    """What a bundle's ``tags`` and ``tokens`` are compared with; None for what it does not have.

    A bundle may have been made without its checkpoint's own head. ``name`` is the checkpoint's.
    """
    needs_head = bundle.tagging is not None or head is not None
    needs_rvq = bundle.tokenizer is not None or rvq is not None
    return (
        chosen_head(name, head) if needs_head else None,
        chosen_rvq(checkpoint, rvq) if needs_rvq else None,
    )
