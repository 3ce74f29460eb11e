"""How much memory this machine has, or this container was given."""

import os
from contextlib import suppress
from pathlib import Path

from ...runtime.engines.cpus import CGROUPS, MEMBERSHIP, own_groups


def given_memory_bytes(cgroups: Path = CGROUPS, membership: Path = MEMBERSHIP) -> int | None:
    """The machine's memory, or what the control groups allow where that is less.

    None where the system does not say (it is not Linux). See the kernel's cgroup-v2 documentation,
    ``memory.max``, and for version 1 ``memory.limit_in_bytes``.
    """
    limits = [_limit(folder) for folder in own_groups("memory", cgroups, membership)]
    with suppress(AttributeError, ValueError, OSError):
        limits.append(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    return min((each for each in limits if each), default=None)


def _limit(folder: Path) -> int | None:
    for name in ("memory.max", "memory.limit_in_bytes"):
        try:
            return int((folder / name).read_text(encoding="ascii"))
        except (OSError, ValueError):  # no such file, or "max"
            continue
    return None
