"""The Hugging Face hub, from which published checkpoints are fetched."""

import re
from collections.abc import Sequence
from pathlib import Path

from ..errors import CheckpointError, MissingDependencyError

_HUB_ID = re.compile(r"\w[\w.-]*/\w[\w.-]*")


def is_hub_id(source: str | Path) -> bool:
    """Whether ``source`` has the form of one, such as OpenMuQ/MuQ-large-msd-iter."""
    return _HUB_ID.fullmatch(str(source)) is not None


def download(hub_id: str, files: Sequence[str]) -> Path:
    """Fetch those of ``files`` that a repository has, or find them in the hub's cache.

    Returns:
        The folder they are in.

    Raises:
        CheckpointError: they cannot be fetched.
        MissingDependencyError: huggingface_hub is not installed.
    """
    try:
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import (
            HfHubHTTPError,
            HFValidationError,
            LocalEntryNotFoundError,
        )
    except ImportError:
        raise MissingDependencyError(
            f"{hub_id}: downloading needs huggingface_hub: pip install 'muqrt[export]'"
        ) from None
    try:
        return Path(snapshot_download(hub_id, allow_patterns=list(files)))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise CheckpointError(
            f"{hub_id}: cannot be fetched from the hub ({reason}). "
            "Check the name and the network, or download it elsewhere and give its folder."
        ) from None
