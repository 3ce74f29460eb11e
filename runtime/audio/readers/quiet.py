"""Keep what C libraries say about damaged files off stderr.

libsndfile's mp3 decoder, libmpg123, prints notes ("Trying to resync...") and offers no way to turn
them off from here. Pointing the file descriptor 2 elsewhere for a moment would lose what other
threads write meanwhile. So the C library's own variable ``stderr`` is pointed elsewhere: Python
writes to the descriptor and does not look at it.
"""

import ctypes
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from threading import Lock

_lock = Lock()
_users = 0
_original: int | None = None


@contextmanager
def quiet_libraries() -> Iterator[None]:
    """Nothing that C code prints to ``stderr`` appears; in all threads while one is in here."""
    global _users, _original
    found = _stderr_and_null()
    if found is None:
        yield
        return
    variable, null = found
    with _lock:
        if _users == 0:
            _original, variable.value = variable.value, null
        _users += 1
    try:
        yield
    finally:
        with _lock:
            _users -= 1
            if _users == 0:
                variable.value = _original


@cache
def _stderr_and_null() -> tuple[ctypes.c_void_p, int] | None:
    """The variable ``stderr``, and a FILE* that discards; None where there is no such variable."""
    if not sys.platform.startswith("linux"):
        return None
    try:
        os.confstr("CS_GNU_LIBC_VERSION")  # only glibc's variable may be written to
        library = ctypes.CDLL(None)
        library.fopen.restype = ctypes.c_void_p
        null = library.fopen(os.devnull.encode(), b"w")
        variable = ctypes.c_void_p.in_dll(library, "stderr")
    except (OSError, ValueError, AttributeError):
        return None
    return (variable, null) if null else None
