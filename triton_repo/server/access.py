"""Which of Triton's APIs need a key that only this process knows.

Triton has no authentication of its own, but can demand a header for groups of its APIs. Those here
let a client read and write the server's memory (shared memory), choose files that it writes (log,
trace), or replace models.
"""

import secrets
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from .stubs import stat_fields

# Triton's names; --http-restricted-api and --grpc-restricted-protocol take the same.
SHARED_MEMORY = "shared-memory"
_RESTRICTED = (SHARED_MEMORY, "model-repository", "logging", "trace")
_HEADER = "muqrt-key"
# In /proc/PID/stat after the command's name, which may contain anything but ends at the last ")".
_ARGUMENTS_START, _ARGUMENTS_END = 45, 46


class RestrictedApis:
    """The restricted APIs of one server, and their key, which is new for every start.

    Args:
        allowed: names of restricted APIs that every client may use after all.
    """

    def __init__(self, allowed: Iterable[str] = ()) -> None:
        self._apis = [name for name in _RESTRICTED if name not in set(allowed)]
        self.renew()

    def renew(self) -> None:
        """Choose another key, for a server that is about to start."""
        self._key = secrets.token_hex(32)

    @property
    def headers(self) -> dict[str, str]:
        """What a request to a restricted HTTP API must carry."""
        return {_HEADER: self._key}

    def arguments(self) -> list[str]:
        """The arguments of tritonserver."""
        setting = f"{','.join(self._apis)}:{_HEADER}={self._key}"
        return [f"--http-restricted-api={setting}", f"--grpc-restricted-protocol={setting}"]

    def hide(self, pid: int) -> bool:
        """Overwrite the key in the arguments of a server that has read them.

        Every user of the machine can list them (ps). Returns whether that worked: a hardened
        kernel may not let a process write to its child.
        """
        key = self._key.encode()
        with suppress(OSError, ValueError, IndexError):
            fields = stat_fields(pid)
            if fields is None:
                return False
            start, end = int(fields[_ARGUMENTS_START]), int(fields[_ARGUMENTS_END])
            with Path(f"/proc/{pid}/mem").open("r+b", buffering=0) as memory:
                memory.seek(start)
                arguments = memory.read(end - start)
                memory.seek(start)
                memory.write(arguments.replace(key, b"x" * len(key)))
            return key not in Path(f"/proc/{pid}/cmdline").read_bytes()
        return False
