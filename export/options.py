"""What the commands that export and prove have in common."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import MissingDependencyError

if TYPE_CHECKING:
    from ..reference.checkpoint import Checkpoint
    from .tagging import TagHead
    from .tokens import TokenRvq

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
    from .tagging import find_head, load_tag_head

    folder = folder or find_head(checkpoint)
    return None if folder is None else load_tag_head(folder)


def chosen_rvq(checkpoint: "Checkpoint", folder: Path | None) -> "TokenRvq":
    """The RVQ in ``folder``, or else the checkpoint's own."""
    from .tokens import load_token_rvq, own_rvq

    return own_rvq(checkpoint) if folder is None else load_token_rvq(folder, checkpoint)
