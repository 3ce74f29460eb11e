"""The memory that this process was given."""

import os
from pathlib import Path

import pytest

from muqrt.triton_repo.repository.memory import given_memory_bytes

MACHINE = 1 << 34


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = {"SC_PHYS_PAGES": 1 << 22, "SC_PAGE_SIZE": 1 << 12}
    monkeypatch.setattr(os, "sysconf", sizes.__getitem__)


@pytest.mark.parametrize(
    ("membership", "file", "text", "expected"),
    [
        ("0::/\n", "memory.max", "max\n", MACHINE),
        ("0::/\n", "memory.max", "4294967296\n", 1 << 32),
        ("0::/pods/one\n", "pods/memory.max", "4294967296\n", 1 << 32),
        ("0::/pods/one\n", "pods/two/memory.max", "4294967296\n", MACHINE),
        ("5:memory:/docker\n", "memory/memory.limit_in_bytes", "4294967296\n", 1 << 32),
        ("5:cpu,cpuacct:/\n", "cpu/memory.limit_in_bytes", "4294967296\n", MACHINE),
        # Without a limit the first version says so.
        ("5:memory:/\n", "memory/memory.limit_in_bytes", "9223372036854771712\n", MACHINE),
    ],
)
def test_a_container_s_limit(
    tmp_path: Path, membership: str, file: str, text: str, expected: int
) -> None:
    (tmp_path / "self").write_text(membership)
    (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / file).write_text(text)
    assert given_memory_bytes(tmp_path, tmp_path / "self") == expected


def test_no_control_groups_leave_the_machine(tmp_path: Path) -> None:
    assert given_memory_bytes(tmp_path, tmp_path / "absent") == MACHINE


def test_a_system_that_does_not_say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "sysconf")
    assert given_memory_bytes(tmp_path, tmp_path / "absent") is None
