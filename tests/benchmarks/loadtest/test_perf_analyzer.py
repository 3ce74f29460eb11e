"""The chart of perf_analyzer's files."""

import json
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest
from PIL import Image

Command = Callable[..., CompletedProcess[str]]

# As perf_analyzer 2.51 writes it: the header, the rows in the order it measured, times in us.
HEADER = (
    "{load},Inferences/Second,Client Send,Network+Server Send/Recv,Server Queue,Server Compute "
    "Input,Server Compute Infer,Server Compute Output,Client Recv,p50 latency,p90 latency,"
    "p95 latency,p99 latency"
)
ROWS = ("4,16.6,10,20,30,40,50,60,1,214000,240000,259000,734500", "1,7.3,1,2,3,4,5,6,7,73000,9,9,9")


def measured(path: Path, load: str = "Concurrency") -> Path:
    path.write_text("\n".join([HEADER.format(load=load), *ROWS]) + "\n\n")
    return path


@pytest.mark.parametrize("load", ["Concurrency", "Request Rate"])
def test_the_chart_and_its_points(load: str, muqrt: Command, tmp_path: Path) -> None:
    files = [measured(tmp_path / "batch-4.csv", load), measured(tmp_path / "batch-8.csv", load)]
    done = muqrt("loadtest-chart", *files, "-o", tmp_path / "chart.png", "--json")
    assert done.returncode == 0, done.stderr
    points = json.loads(done.stdout)
    assert list(points) == ["batch-4", "batch-8"]
    assert points["batch-4"] == [
        {"load": 1, "inferences_per_second": 7.3, "p50_ms": 73, "p99_ms": 0.009},
        {"load": 4, "inferences_per_second": 16.6, "p50_ms": 214, "p99_ms": 734.5},
    ]
    with Image.open(tmp_path / "chart.png") as picture:
        picture.verify()
        assert picture.width > 600


@pytest.mark.parametrize("content", ["", "a,b\n1,2\n", "Concurrency,p99 latency\nx,y\n", "\0\0"])
def test_other_files_are_refused(content: str, muqrt: Command, tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text(content)
    done = muqrt("loadtest-chart", tmp_path / "x.csv", "-o", tmp_path / "chart.png")
    assert done.returncode == 2
    assert "x.csv: not a CSV file of perf_analyzer" in done.stderr
    assert not (tmp_path / "chart.png").exists()


def test_two_of_the_same_name(muqrt: Command, tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    files = [measured(tmp_path / "x.csv"), measured(tmp_path / "a" / "x.csv")]
    done = muqrt("loadtest-chart", *files, "-o", tmp_path / "chart.png")
    assert done.returncode == 2
    assert "same name" in done.stderr
