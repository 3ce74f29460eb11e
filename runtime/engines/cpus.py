"""How many processors this process was given, where that is fewer than the machine has.

An engine's own choice is the machine's physical cores. In a container with a quota of two on a
machine of 64 those are 64 threads, which the system stops for most of every tenth of a second.
"""

import logging
import os
from pathlib import Path

SMALL_MACHINE_CORES = 4
SIBLINGS = Path("/sys/devices/system/cpu")
CGROUPS = Path("/sys/fs/cgroup")
MEMBERSHIP = Path("/proc/self/cgroup")

_log = logging.getLogger(__name__)


def given_cpus(cgroups: Path = CGROUPS, membership: Path = MEMBERSHIP) -> int | None:
    """How many processors the affinity mask and the control groups' quotas allow, at least 1.

    None where the whole machine may be used, or the system does not say (it is not Linux).
    See the kernel's cgroup-v2 documentation, ``cpu.max``, and for version 1 ``cpu.cfs_quota_us``.
    """
    limits = [
        quota for folder in own_groups("cpu", cgroups, membership) if (quota := _quota(folder))
    ]
    if hasattr(os, "sched_getaffinity"):
        limits.append(float(len(os.sched_getaffinity(0))))
    fewest = min(limits, default=float("inf"))
    return max(1, int(fewest)) if fewest < (os.cpu_count() or 1) else None


def bounded_threads(threads: int | None) -> int | None:
    """A number of threads, no larger than that of the processors: more would only wait.

    Warns where it is larger; None stays None.
    """
    most = given_cpus() or os.cpu_count() or 1
    if threads is None or threads <= most:
        return threads
    _log.warning(
        "%d threads: there %s here; using %d.",
        threads,
        "is 1 processor" if most == 1 else f"are {most} processors",
        most,
    )
    return most


def considerate_threads(siblings: Path = SIBLINGS) -> int | None:
    """Threads that leave a core of a small machine to other programs, at least 1.

    None, for the engine's own choice, on a machine of more than four cores, and where this process
    was given fewer processors than there are: that is limit enough.
    """
    cores = physical_cores(siblings)
    if cores > SMALL_MACHINE_CORES or given_cpus() is not None:
        return None
    return max(1, cores - 1)


def physical_cores(siblings: Path = SIBLINGS) -> int:
    """How many cores there are; processors, where the system does not say which share one."""
    try:
        cores = {
            file.read_text(encoding="ascii")
            for file in siblings.glob("cpu[0-9]*/topology/thread_siblings_list")
        }
    except (OSError, ValueError):
        cores = set()
    return len(cores) or os.cpu_count() or 1


def own_groups(resource: str, cgroups: Path, membership: Path) -> list[Path]:
    """The folders of the groups that hold this process, and of all that hold those.

    Args:
        resource: what they limit: "cpu" or "memory".
        cgroups, membership: where the system has its control groups, and which are this process's.
    """
    try:
        lines = membership.read_text(encoding="ascii").splitlines()
    except (OSError, ValueError):
        return []
    folders = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers and resource not in controllers.split(","):
            continue
        root = cgroups / resource if controllers else cgroups
        # In a container its own group is mounted as the root, whatever the path says.
        inner = root / path.lstrip("/")
        folders += [root, *(each for each in (inner, *inner.parents) if each.is_relative_to(root))]
    return folders


def _quota(folder: Path) -> float | None:
    """The quota in processors, or None for no limit."""
    try:
        if (folder / "cpu.max").is_file():
            quota, period = (folder / "cpu.max").read_text(encoding="ascii").split()
        else:
            quota, period = (
                (folder / f"cpu.cfs_{name}_us").read_text(encoding="ascii").strip()
                for name in ("quota", "period")
            )
        return float(quota) / float(period) if float(quota) > 0 else None
    except (OSError, ValueError):  # no such limit, or "max"
        return None
