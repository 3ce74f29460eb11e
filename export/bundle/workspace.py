"""A hidden folder inside a bundle, in which new artefacts are written."""

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

_PREFIX = ".build-"


@contextmanager
def workspace(bundle: Path) -> Iterator[Path]:
    """Make an empty folder inside a bundle's and remove it with its contents afterwards.

    What builds that were killed have left is removed before. The system keeps who builds in a
    bundle, as locks of its folder, and forgets those who die.
    """
    lock = os.open(bundle, os.O_RDONLY)
    try:
        with suppress(OSError):  # somebody else builds there, or the file system has no locks
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            for left in bundle.glob(f"{_PREFIX}*"):
                shutil.rmtree(left, ignore_errors=True)
        with suppress(OSError):
            fcntl.flock(lock, fcntl.LOCK_SH)
        with TemporaryDirectory(prefix=_PREFIX, dir=bundle) as folder:
            yield Path(folder)
    finally:
        os.close(lock)


def is_in_workspace(file: Path) -> bool:
    """Whether a path, relative to the bundle's folder, is in a workspace."""
    return file.parts[0].startswith(_PREFIX)
