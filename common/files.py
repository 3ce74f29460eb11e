"""Write files and folders whole or not at all, and hash them."""

import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

_HASH_BLOCK_BYTES = 1 << 22


def sha256(path: Path) -> str:
    """Hexadecimal SHA-256 of a file's bytes."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_HASH_BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()


def cache_folder(chosen: Path | None = None) -> Path:
    """Folder for what can be computed again: the one chosen, or the user's cache."""
    return chosen or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "muqrt"


@contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """Yield a path beside ``path`` to write to; it replaces ``path`` when the block succeeds.

    When the block raises, the temporary file is removed and ``path`` is as it was.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # The suffix is kept: some writers choose their format by it.
    temporary = _beside(path, path.stem, path.suffix)
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Yield a temporary folder beside ``path`` that replaces it when the block succeeds.

    When the block raises, or ``path`` cannot be replaced, the temporary folder is removed and
    ``path`` is as it was.
    """
    path = path.resolve()  # a link keeps pointing there
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = _beside(path, path.name)
    retired = temporary.with_name(f"{temporary.name}-old")
    try:
        temporary.mkdir()
        yield temporary
        if path.exists():
            path.rename(retired)
        try:
            temporary.rename(path)
        except BaseException:
            if retired.exists():
                retired.rename(path)
            raise
        shutil.rmtree(retired, ignore_errors=True)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _beside(path: Path, name: str, suffix: str = "") -> Path:
    """A unique hidden name. Nothing is created yet: an interruption could not undo it."""
    return path.with_name(f".{name}-{uuid4().hex[:8]}{suffix}")
