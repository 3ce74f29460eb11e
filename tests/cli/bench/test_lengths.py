"""``muqrt bench lengths``: a row for each contender and window, and what is refused."""

import json
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from muqrt.benchmarks.measure.timing import EAGER
from muqrt.benchmarks.model import lengths as module
from muqrt.errors import SessionError
from muqrt.runtime.bundle.manifest import load_bundle

Command = Callable[..., CompletedProcess[str]]


def test_every_contender_on_every_window(
    muqrt: Command, tiny_bundle: Path, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    about = ("--checkpoint", tiny_checkpoint, "--threads", 1, "--windows", "0.5,2")
    done = muqrt("bench", "lengths", tiny_bundle, *about, "-o", tmp_path / "long", "--json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report == json.loads((tmp_path / "long.json").read_text())
    found = [(each["window_seconds"], each["contender"]) for each in report["lengths"]]
    assert found == [(s, name) for s in (0.5, 2.0) for name in (EAGER, "onnx-fp32")]
    for each in report["lengths"]:
        assert each["failure"] is None
        assert 30e6 < each["peak_rss_bytes"] < 2e9
        assert each["answer_seconds"] > 0
        is_eager = each["contender"] == EAGER
        assert is_eager == (each["relative_l2"] is None)
        assert is_eager or each["relative_l2"] < 1e-4
    assert "onnx-fp32" in (tmp_path / "long.md").read_text()


def test_what_does_not_fit_is_reported(
    tiny_bundle: Path, tiny_checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(name: str, what: str, request: object) -> object:
        raise SessionError(f"{what}: a fresh process failed: cannot allocate memory")

    monkeypatch.setattr(module, "fresh_process", full)
    about = load_bundle(tiny_bundle), str(tiny_checkpoint), [0.5], 1
    report = module.measure_lengths(*about, memory_bytes=2_000_000_000)
    assert [each.failure for each in report.lengths] == ["over 2", "over 2"]
    assert [row[2] for row in report.results()[0].rows] == ["over 2", "over 2"]
    with pytest.raises(SessionError, match="cannot allocate"):  # nobody has set a limit
        module.measure_lengths(*about)


@pytest.mark.parametrize("windows", ["", "ten", "0", "5,-1", "4000", "nan"])
def test_windows_that_are_none(
    muqrt: Command, tiny_bundle: Path, tiny_checkpoint: Path, windows: str
) -> None:
    about = ("--checkpoint", tiny_checkpoint, "--windows", windows)
    done = muqrt("bench", "lengths", tiny_bundle, *about)
    assert (done.returncode, done.stdout) == (2, "")
    assert "give lengths of" in done.stderr
