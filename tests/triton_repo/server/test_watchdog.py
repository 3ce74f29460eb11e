"""A child of a process that is killed ends too, and leaves nothing in shared memory."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

import pytest

OWNER = """
import subprocess, sys, time
from muqrt.triton_repo.server.watchdog import ParentWatchdog
child = subprocess.Popen(["sh", "-c", sys.argv[1]], start_new_session=True)
watchdog = ParentWatchdog(child.pid, 1, sys.argv[2])
print(child.pid, flush=True)
if "revoke" in sys.argv:
    watchdog.revoke()
time.sleep(60)
"""


def owner_of(*arguments: str) -> tuple[subprocess.Popen[bytes], int]:
    """A process with a child that runs a shell's command, and the child's id."""
    owner = subprocess.Popen([sys.executable, "-c", OWNER, *arguments], stdout=subprocess.PIPE)
    assert owner.stdout is not None
    with owner.stdout as written:
        return owner, int(written.readline())


def ended(pid: int) -> bool:
    """Whether a process, perhaps of another parent, has ended."""
    status = Path(f"/proc/{pid}/stat")
    try:
        return status.read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def wait_for(what: Callable[[], bool], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not what() and time.monotonic() < deadline:
        time.sleep(0.02)
    return what()


@pytest.mark.parametrize("child", ["exec sleep 60", "trap '' TERM; while :; do sleep 0.1; done"])
def test_a_killed_owners_child_ends(child: str) -> None:
    prefix = f"muqrt-test-{uuid4().hex}-"
    buffer = Path("/dev/shm") / f"{prefix}buffer"
    buffer.touch()
    owner, pid = owner_of(child, prefix)
    try:
        assert not wait_for(lambda: ended(pid), 0.1)
        owner.kill()
        owner.wait()
        assert wait_for(lambda: ended(pid) and not buffer.exists(), 60)
    finally:
        buffer.unlink(missing_ok=True)
        if not ended(pid):
            os.killpg(pid, signal.SIGKILL)


def test_a_revoked_watchdog_ends_nothing() -> None:
    owner, pid = owner_of("exec sleep 60", "muqrt-test-none", "revoke")
    try:
        time.sleep(0.2)
        owner.kill()
        owner.wait()
        assert not wait_for(lambda: ended(pid), 0.3)
    finally:
        os.killpg(pid, signal.SIGKILL)
