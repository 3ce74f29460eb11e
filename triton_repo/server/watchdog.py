"""Ends a server whose owner was killed and could not end it itself."""

import subprocess

# Written for any POSIX shell, because its process stays as long as the server's does. The owner
# holds the other end of its input, which the system closes when the owner dies, however it does.
_SCRIPT = """
read -r _
kill -s TERM "$1"
seconds=0
while kill -0 "$1" && [ "$seconds" -lt "$2" ]; do sleep 1; seconds=$((seconds + 1)); done
kill -s KILL -- "-$1"
rm -f "/dev/shm/$3"*
"""


class ParentWatchdog:
    """What happens to a child process when this one dies: it is asked to end, then made to.

    Linux's own signal for this comes when the thread that started the child ends, which may be long
    before the process does.

    Args:
        pid: of the child, which leads a process group.
        grace_seconds: how long it may take to end.
        shared_memory: what the names of its buffers in /dev/shm begin with; they are removed.
    """

    def __init__(self, pid: int, grace_seconds: int, shared_memory: str) -> None:
        self._executor = subprocess.Popen(
            ["sh", "-c", _SCRIPT, "sh", str(pid), str(grace_seconds), shared_memory],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C is for us
        )

    def revoke(self) -> None:
        """The child has ended, or is to live on."""
        self._executor.kill()
        self._executor.communicate()
