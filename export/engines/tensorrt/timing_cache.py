"""A file of measured layer timings, which makes later builds shorter."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ....common.files import atomic_file
from ....errors import UsageError


@contextmanager
def timing_cache(config: Any, path: Path | None) -> Iterator[None]:
    """Load a file of layer timings into a builder's configuration and save it again afterwards.

    They are written after a failed or interrupted build too. Those of another TensorRT or another
    GPU are replaced. ``path`` None keeps nothing.

    Raises:
        UsageError: the file cannot be read.
    """
    if path is None:
        yield
        return
    try:
        kept = path.read_bytes() if path.exists() else b""
    except OSError as error:
        raise UsageError(f"{path}: not a timing cache: {error}") from None
    if not _accepts(config, kept):
        _accepts(config, b"")
    try:
        yield
    finally:
        cache = config.get_timing_cache()
        with atomic_file(path) as temporary:
            temporary.write_bytes(bytes(cache.serialize()))


def _accepts(config: Any, measurements: bytes) -> bool:
    cache = config.create_timing_cache(measurements)
    return cache is not None and config.set_timing_cache(cache, ignore_mismatch=False)
