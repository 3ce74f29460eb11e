"""Whether what computes an output is what a bundle was made from."""

from ...errors import CheckpointError
from ...reference.checkpoint import Checkpoint
from ...runtime.bundle.manifest import Bundle


def require_source(bundle: Bundle, checkpoint: Checkpoint) -> None:
    """Raise CheckpointError unless the bundle was made from this very checkpoint."""
    if checkpoint.sha256 != bundle.source.sha256:
        raise CheckpointError(
            f"{checkpoint.name}: not the checkpoint of {bundle.folder}, which was made from "
            f"{bundle.source.checkpoint} (SHA-256 {bundle.source.sha256[:12]}...)."
        )


def require_same(
    bundle: Bundle,
    called: tuple[str, str],
    sha256: str | None,
    source: tuple[str, str] | None,
) -> None:
    """Raise CheckpointError unless an output's source is the one that the bundle was made from.

    Args:
        bundle: the bundle.
        called: the output's name and what computes it, such as ("tags", "head").
        sha256: of the bundle's own source; None for a bundle without the output.
        source: name and SHA-256 of the source that is there; None where there is none.
    """
    output, what = called
    option = f"--{what.lower()}"
    if sha256 is not None and source is None:
        raise CheckpointError(
            f"{bundle.folder}: its {output} can be compared only with their {what}; name the "
            f"{what}'s folder with {option}."
        )
    if source is not None and source[1] != sha256:
        made = f"with another (SHA-256 {sha256[:12]}...)" if sha256 is not None else "without one"
        raise CheckpointError(
            f"{source[0]}: not the {what} of {bundle.folder}, made {made}. Name its folder with "
            f"{option}."
        )
