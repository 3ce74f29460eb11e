"""A bundle's manifest as it is now, for a process that changes it."""

from collections.abc import Iterator
from contextlib import contextmanager

from ...common.lock import locked
from ...errors import BundleError
from ...runtime.bundle.manifest import Bundle, load_bundle


@contextmanager
def newest(bundle: Bundle) -> Iterator[Bundle]:
    """Yield the bundle as it is on disk by now, and let no other process change it.

    Args:
        bundle: as it was loaded; other processes may have added artefacts since.

    Raises:
        BundleError: it was exported again since.
    """
    with locked(bundle.folder):
        current = load_bundle(bundle.folder)
        if _facts(current) != _facts(bundle):
            raise BundleError(
                f"{bundle.folder}: was exported again meanwhile, as another bundle. Run this again."
            )
        yield current


def _facts(bundle: Bundle) -> dict[str, object]:
    return bundle.model_dump(exclude={"artefacts"})
