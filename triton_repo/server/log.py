"""Where the server's output goes."""

import os
import sys
import tempfile
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import IO, Any

_PRIVATE_MODE = 0o600
_TAIL_COLUMNS = 400
_STDERR = Path("-")


class ServerLog:
    """The log of a server that is started, perhaps several times.

    Args:
        path: the file; a temporary one when None, this process's stderr when "-".

    Attributes:
        path: the file, or "-".
    """

    def __init__(self, path: Path | None = None) -> None:
        self._is_temporary, self._is_file = path is None, path != _STDERR
        self.path = _temporary_log() if path is None else path
        self._start_bytes = 0

    def open(self) -> AbstractContextManager[IO[Any]]:
        """The file that a server's output is appended to."""
        if not self._is_file:
            return nullcontext(sys.stderr)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.touch(_PRIVATE_MODE)
        self._start_bytes = self.path.stat().st_size
        return self.path.open("ab")

    @property
    def has_grown(self) -> bool:
        """Whether anything has been written since it was opened; False for stderr."""
        return self._is_file and self.path.stat().st_size > self._start_bytes

    def tail(self, lines: int = 20) -> str:
        """The last lines without the server's tables, cut to a readable width."""
        if not self._is_file:
            return "(on stderr)"
        text = self.path.read_text(encoding="utf-8", errors="replace")
        kept = [line for line in text.splitlines() if line[:1] not in ("", "|", "+")]
        return "\n".join(line[:_TAIL_COLUMNS] for line in kept[-lines:])

    def forget(self) -> None:
        """Remove it, if it is temporary."""
        if self._is_temporary:
            self.path.unlink(missing_ok=True)


def _temporary_log() -> Path:
    handle, name = tempfile.mkstemp(prefix="muqrt-triton-", suffix=".log")
    os.close(handle)
    return Path(name)
