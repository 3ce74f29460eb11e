"""The processes in which Triton's Python backend runs models.

Triton does not notice that one has died until a request fails, and reports the model as ready even
then. Linux only, like the server.
"""

import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

# Places in /proc/PID/stat after the command's name: state, processor time in ticks, start.
_STATE, _USER, _SYSTEM, _BEGAN = 0, 11, 12, 19
_DEAD = "ZX"


@dataclass(frozen=True)
class Stub:
    """One process; ``began`` tells it from a later one with the same number."""

    pid: int
    began: str

    @property
    def is_alive(self) -> bool:
        """Whether it runs; a process that waits to be reaped does not."""
        fields = stat_fields(self.pid)
        return fields is not None and fields[_STATE] not in _DEAD and fields[_BEGAN] == self.began


def stubs_of(server_pid: int, model: str) -> list[Stub]:
    """The living processes of a model's instances; empty if its backend has none."""
    instance = re.compile(rf"{re.escape(model)}_[0-9]+_[0-9]+")
    found = []
    for pid in _children(server_pid):
        with suppress(OSError):
            # A dead process has no arguments.
            arguments = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace")
            fields = stat_fields(pid)
            if fields is not None and any(map(instance.fullmatch, arguments.split("\0"))):
                found.append(Stub(pid, fields[_BEGAN]))
    return found


def processor_ticks(pid: int) -> int:
    """How much processor time a process has used so far; 0 if there is no such process."""
    fields = stat_fields(pid)
    return 0 if fields is None else int(fields[_USER]) + int(fields[_SYSTEM])


def _children(pid: int) -> Iterator[int]:
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        with suppress(OSError):
            yield from map(int, task.read_text().split())


def stat_fields(pid: int) -> list[str] | None:
    """What ``/proc/PID/stat`` has behind the command's name; None if there is no such process."""
    with suppress(OSError):
        # The command's name, in parentheses, may contain anything.
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return None
