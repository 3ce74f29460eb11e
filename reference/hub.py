"""The Hugging Face hub, from which published checkpoints are fetched."""

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from ..errors import CheckpointError, MissingDependencyError

_HUB_ID = re.compile(r"\w[\w.-]*/\w[\w.-]*")


@dataclass(frozen=True)
class HubOptions:
    """How files are fetched: arguments of huggingface_hub, None for its own choice.

    Attributes:
        cache_dir: where they are kept.
        revision: branch, tag or commit.
        local_files_only: look in the cache alone.
        token: for repositories that are not public; True for the one that is stored.
        force_download: fetch them although they are in the cache.
    """

    cache_dir: str | Path | None = None
    revision: str | None = None
    local_files_only: bool = False
    token: str | bool | None = None
    force_download: bool = False


USUAL = HubOptions()


def is_hub_id(source: str | Path) -> bool:
    """Whether ``source`` has the form of one, such as OpenMuQ/MuQ-large-msd-iter."""
    return _HUB_ID.fullmatch(str(source)) is not None


def download(hub_id: str, files: Sequence[str], options: HubOptions = USUAL) -> Path:
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
        return Path(snapshot_download(hub_id, allow_patterns=list(files), **asdict(options)))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise CheckpointError(
            f"{hub_id}: cannot be fetched from the hub ({reason}). "
            "Check the name and the network, or download it elsewhere and give its folder."
        ) from None
