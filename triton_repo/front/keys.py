"""Names of shared memory, which no client needs to know."""

import re

# Of the server that muqrt serve starts, and those that Triton's Python backend chooses.
_KEYS = re.compile(rb"/?(?:muqrt-[0-9a-f]{32}-|triton_python_backend_shm_region_)[^\s'\"\\]*")


def without_keys(message: bytes) -> bytes:
    """A message of Triton's whose names of shared memory are crossed out; as long as before."""
    return _KEYS.sub(lambda match: b"x" * len(match[0]), message)
