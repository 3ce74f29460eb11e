"""What the C library does with memory that was freed."""

import ctypes
from contextlib import suppress

# Of mallopt.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3


def keep_freed_memory(most_bytes: int) -> None:
    """Let the allocator keep what it frees, up to so much (at most 2 GiB - 1), for what comes next.

    Buffers that come and go would have the system clear their pages anew each time, which can cost
    more than what is done with them. Does nothing where the C library is not glibc.
    """
    with suppress(AttributeError, OSError):
        set_option = ctypes.CDLL(None).mallopt
        set_option(_M_MMAP_THRESHOLD, most_bytes // 2)
        set_option(_M_TRIM_THRESHOLD, most_bytes)
