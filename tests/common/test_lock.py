"""One process at a time, with its name for those who wait, and nothing left when it is killed."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from muqrt.common.lock import LOCK_FILE, locked, try_lock, unlock
from muqrt.errors import UsageError

HOLD = """
import sys, time
from pathlib import Path
from muqrt.common.lock import locked
sys.argv[0] = "/usr/bin/muqrt"
with locked(Path(sys.argv[2])):
    print("locked", flush=True)
    time.sleep(60)
"""
COUNT = """
import sys
from pathlib import Path
from muqrt.common.lock import locked
folder = Path(sys.argv[1])
for _ in range(20):
    with locked(folder):
        count = int((folder / "count").read_text())
        (folder / "count").write_text(str(count + 1))
"""


def holding(folder: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", HOLD, "search", str(folder)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE)
    assert process.stdout is not None and process.stdout.readline() == b"locked\n"
    return process


def test_nothing_is_left_behind(tmp_path: Path) -> None:
    with locked(tmp_path / "new"):
        assert (tmp_path / "new" / LOCK_FILE).exists()
        assert try_lock(tmp_path / "new") is None
    assert list((tmp_path / "new").iterdir()) == []


def test_no_change_is_lost_among_processes(tmp_path: Path) -> None:
    (tmp_path / "count").write_text("0")
    commands = [[sys.executable, "-c", COUNT, str(tmp_path)]] * 3
    processes = [subprocess.Popen(command) for command in commands]
    assert [process.wait() for process in processes] == [0, 0, 0]
    assert (tmp_path / "count").read_text() == "60"


def test_who_waits_is_told_for_whom_and_goes_on_when_that_one_is_killed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("muqrt.common.lock._SILENT_SECONDS", 0.0)
    process = holding(tmp_path)
    try:
        monkeypatch.setattr("time.sleep", lambda seconds: process.kill() or process.wait())
        with locked(tmp_path):
            pass
    finally:
        process.kill()
        process.communicate()
    told = capsys.readouterr().err
    assert told.startswith(f"muqrt: {tmp_path}: waiting for muqrt search (pid {process.pid} on ")
    assert told.count("\n") == 1


def test_a_signal_ends_the_wait(tmp_path: Path) -> None:
    holder = holding(tmp_path)
    waiter = subprocess.Popen(
        [sys.executable, "-c", HOLD, "embed", str(tmp_path)], stderr=subprocess.PIPE
    )
    try:
        assert waiter.stderr is not None and b"waiting for muqrt search" in waiter.stderr.readline()
        began = time.monotonic()
        waiter.send_signal(signal.SIGINT)
        waiter.wait()
        assert time.monotonic() - began < 2
    finally:
        holder.kill()
        waiter.kill()
        holder.communicate()
        waiter.communicate()


def test_a_folder_that_is_replaced_meanwhile_is_locked_anew(tmp_path: Path) -> None:
    folder, old = tmp_path / "folder", tmp_path / "old"
    folder.mkdir()
    lock = try_lock(folder)
    assert lock is not None
    folder.rename(old)
    folder.mkdir()
    with locked(folder):
        unlock(folder, lock)  # the old folder's, which must not free the new one
        assert try_lock(folder) is None


def test_no_link_is_followed(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("mine")
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / LOCK_FILE).symlink_to(tmp_path / "mine")
    with (
        pytest.raises(UsageError, match="cannot be locked for writing"),
        locked(tmp_path / "theirs"),
    ):
        pass
    assert (tmp_path / "mine").read_text() == "mine"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_is_read_only(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(UsageError, match="Permission denied"), locked(tmp_path):
        pass


def test_without_locks_one_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def unsupported(descriptor: int, operation: int) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr("fcntl.flock", unsupported)
    with locked(tmp_path):
        pass
    assert "has no locks; let no other process write there" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
