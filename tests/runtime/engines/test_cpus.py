import os
from pathlib import Path

import pytest

from muqrt.runtime.engines.cpus import bounded_threads, considerate_threads, given_cpus


@pytest.fixture(autouse=True)
def large_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(64)), raising=False)


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_no_more_threads_than_processors(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    assert [bounded_threads(each) for each in (None, 1, 64)] == [None, 1, 64]
    assert not caplog.messages
    assert bounded_threads(999) == 64
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {3}, raising=False)
    assert bounded_threads(2) == 1
    assert caplog.messages == [
        "999 threads: there are 64 processors here; using 64.",
        "2 threads: there is 1 processor here; using 1.",
    ]


def test_no_limit_leaves_the_choice_to_the_engine(tmp_path: Path) -> None:
    assert given_cpus(tmp_path, write(tmp_path / "self", "0::/\n")) is None
    write(tmp_path / "cpu.max", "max 100000\n")
    assert given_cpus(tmp_path, tmp_path / "self") is None
    assert given_cpus(tmp_path, tmp_path / "absent") is None


@pytest.mark.parametrize(
    ("quota", "expected"), [("200000 100000", 2), ("250000 100000", 2), ("50000 100000", 1)]
)
def test_a_container_s_quota(tmp_path: Path, quota: str, expected: int) -> None:
    # The path is the one outside of the container.
    membership = write(tmp_path / "self", "0::/docker/0123\n")
    write(tmp_path / "cpu.max", f"{quota}\n")
    assert given_cpus(tmp_path, membership) == expected


def test_the_tightest_group_counts(tmp_path: Path) -> None:
    membership = write(tmp_path / "self", "0::/slice/service\n")
    write(tmp_path / "slice/cpu.max", "300000 100000\n")
    write(tmp_path / "slice/service/cpu.max", "800000 100000\n")
    assert given_cpus(tmp_path, membership) == 3


def test_groups_of_version_1(tmp_path: Path) -> None:
    membership = write(tmp_path / "self", "5:memory:/a\n4:cpu,cpuacct:/a\n0::/\n")
    write(tmp_path / "cpu/a/cpu.cfs_period_us", "100000\n")
    quota = write(tmp_path / "cpu/a/cpu.cfs_quota_us", "400000\n")
    assert given_cpus(tmp_path, membership) == 4
    quota.write_text("-1\n")
    assert given_cpus(tmp_path, membership) is None


def test_an_affinity_mask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {3, 5}, raising=False)
    membership = write(tmp_path / "self", "0::/\n")
    assert given_cpus(tmp_path, membership) == 2
    write(tmp_path / "cpu.max", "100000 100000\n")
    assert given_cpus(tmp_path, membership) == 1


@pytest.mark.parametrize(
    ("cores", "siblings", "expected"),
    [(1, 1, 1), (2, 1, 1), (4, 1, 3), (4, 2, 3), (8, 1, None), (8, 2, None)],
)
def test_a_small_machine_keeps_a_core_for_others(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    cores: int,
    siblings: int,
    expected: int | None,
) -> None:
    processors = cores * siblings
    monkeypatch.setattr(os, "cpu_count", lambda: processors)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(processors)), raising=False)
    monkeypatch.setattr("muqrt.runtime.engines.cpus.own_groups", lambda *given: [])
    for processor in range(processors):
        core = processor % cores
        same = ",".join(str(core + cores * each) for each in range(siblings))
        write(tmp_path / f"cpu{processor}/topology/thread_siblings_list", f"{same}\n")
    assert considerate_threads(tmp_path) == expected
    if siblings == 1:  # as where the system does not say
        assert considerate_threads(tmp_path / "none") == expected
    # Who gives fewer processors than there are has thought of the others.
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0}, raising=False)
    assert considerate_threads(tmp_path) == (None if processors > 1 else 1)
