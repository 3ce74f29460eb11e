"""End a server whose parent process was killed."""

import subprocess

# A POSIX shell, because a small process stays as long as the server. The parent holds the other end
# of its input, which the system closes however the parent dies.
_SCRIPT = """
read -r _
kill -s TERM "$1"
seconds=0
while kill -0 "$1" && [ "$seconds" -lt "$2" ]; do sleep 1; seconds=$((seconds + 1)); done
kill -s KILL -- "-$1"
rm -f "/dev/shm/$3"*
"""


class ParentWatchdog:
    """Ends a child process when this process dies: asks it first, then kills it.

    Linux's own signal for this is sent when the thread that started the child ends, which may be
    long before the process does.

    Args:
        pid: process id of the child, which leads a process group.
        grace_seconds: how long the child may take to end.
        shared_memory: prefix of the names of its buffers in /dev/shm, which are removed.
    """

    def __init__(self, pid: int, grace_seconds: int, shared_memory: str) -> None:
        self._executor = subprocess.Popen(
            ["sh", "-c", _SCRIPT, "sh", str(pid), str(grace_seconds), shared_memory],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C is for the parent
        )

    def revoke(self) -> None:
        """Stop watching: the child has ended, or may outlive this process."""
        self._executor.kill()
        self._executor.communicate()
