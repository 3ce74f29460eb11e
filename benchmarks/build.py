"""What it takes to build artefacts, and whether another version of muqrt builds the same ones."""

import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import UsageError
from .measure.report import Report, Section

HERE, BEFORE = "here", "before"
# Of an artefact's record: what says when and where it was made.
_OF_THE_RUN = ("seconds", "created", "environment")
# Linux lets a new process inherit getrusage's peak from the one that started it, so a build notes
# its own before it ends.
_NOTING_ITS_PEAK = """
import atexit, runpy, sys
from pathlib import Path
peak = Path(sys.argv.pop(1))
atexit.register(lambda: peak.write_bytes(Path("/proc/self/status").read_bytes()))
runpy.run_module("muqrt", run_name="__main__", alter_sys=True)
"""
_COLUMNS = (
    "precision",
    "code",
    "seconds",
    "processor seconds",
    "half of them",
    "peak memory, GB",
    "certificate",
)
_NOTE = (
    "Medians. Each build is a process of its own, loading and parity included, and they take "
    "turns. *processor seconds* are those of all threads, user and system; half of them is the "
    "least time that two cores can take. *seconds* depend on what else runs."
)


@dataclass(frozen=True, kw_only=True)
class BuildResult:
    """One precision, built by one version of the code.

    Attributes:
        precision: as ``muqrt build`` takes it.
        code: which version.
        seconds, processor_seconds, peak_rss_bytes: of each round.
        artefact: what ``muqrt build --json`` said last; empty where it was refused.
        refusal: why there is none.
    """

    precision: str
    code: str
    seconds: list[float]
    processor_seconds: list[float]
    peak_rss_bytes: list[int]
    artefact: dict[str, Any]
    refusal: str


@dataclass(frozen=True, kw_only=True)
class BuildReport(Report):
    """One run of ``muqrt bench build``.

    Attributes:
        checkpoint: its name.
        parameters: how many it has.
        load_average: of the machine, over the minute before each build.
        found: by precision, this version's before the other's.
        differences: the fields in which the versions' artefacts differ, by precision; only for
            those that both built.
    """

    checkpoint: str
    parameters: int
    load_average: list[float]
    found: list[BuildResult]
    differences: dict[str, list[str]]

    def results(self) -> list[Section]:
        """A row for each precision and version."""
        millions = f"{self.parameters / 1e6:.1f}M parameters"
        title = f"Builds of {self.checkpoint}, {millions}, on {self.environment['cpu']}"
        least, most = min(self.load_average), max(self.load_average)
        note = f"{_NOTE} Load average: {least:.1f} to {most:.1f}."
        return [Section(title, _COLUMNS, [_row(each) for each in self.found], note)]

    def remarks(self) -> list[str]:
        """Refusals, and whether the versions agree."""
        refused = [each for each in self.found if each.refusal]
        return [
            *(f"{each.precision}, {each.code}: {each.refusal}" for each in refused),
            *(
                f"{precision}: the two versions' artefacts "
                + (f"differ in {', '.join(fields)}." if fields else "are equal in every field.")
                for precision, fields in self.differences.items()
            ),
        ]


def measure_builds(
    bundle: Path,
    parameters: int,
    checkpoint: str,
    precisions: Sequence[str],
    before: Path | None = None,
    rounds: int = 1,
    on_step: Callable[[str], None] = lambda what: None,
) -> BuildReport:
    """Build artefacts for ONNX Runtime into copies of a bundle.

    Args:
        bundle: its folder.
        parameters: of its model.
        checkpoint: what it was made from.
        precisions: as ``muqrt build`` takes them.
        before: a folder with another version of muqrt's source, to be compared with this one's.
        rounds: how often each is built.
        on_step: called after each build.

    Raises:
        UsageError: ``before`` is no such folder.
    """
    if before is not None and not (before / "cli" / "app.py").is_file():
        raise UsageError(f"--before {before}: not a folder of muqrt's source.")
    codes = {HERE: None} if before is None else {HERE: None, BEFORE: before.resolve()}
    found = {
        (precision, code): BuildResult(
            precision=precision,
            code=code,
            seconds=[],
            processor_seconds=[],
            peak_rss_bytes=[],
            artefact={},
            refusal="",
        )
        for precision in precisions
        for code in codes
    }
    loads = []
    given = str(Path(checkpoint).resolve()) if Path(checkpoint).exists() else checkpoint
    for turn in range(rounds):
        for (precision, code), result in found.items():
            loads.append(os.getloadavg()[0])
            found[precision, code] = _built(bundle, given, codes[code], result)
            on_step(f"{precision}, {code}, {turn + 1} of {rounds}")
    return BuildReport(
        checkpoint=Path(checkpoint).name,
        parameters=parameters,
        load_average=loads,
        found=list(found.values()),
        differences={
            precision: list(_differing(ours.artefact, theirs.artefact))
            for precision in precisions
            if (theirs := found.get((precision, BEFORE))) is not None
            if (ours := found[precision, HERE]).artefact and theirs.artefact
        },
    )


def _built(bundle: Path, checkpoint: str, source: Path | None, result: BuildResult) -> BuildResult:
    """Build once more, by the source in another folder unless None."""
    with tempfile.TemporaryDirectory(prefix="muqrt-build") as name:
        folder = Path(name)
        shutil.copytree(bundle, folder / "bundle")
        environment = dict(os.environ)
        if source is not None:
            (folder / "source").mkdir()
            (folder / "source" / "muqrt").symlink_to(source)
            paths = [str(folder / "source"), environment.get("PYTHONPATH", "")]
            environment["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
        # The current folder comes first on Python's path, and may be anything.
        (folder / "empty").mkdir()
        command = [sys.executable, "-c", _NOTING_ITS_PEAK, str(folder / "peak")]
        command += ["build", "../bundle", "--checkpoint", checkpoint]
        command += ["--precision", result.precision, "--json"]
        with (folder / "out").open("w+b") as out, (folder / "error").open("w+b") as error:
            begun = time.perf_counter()
            with subprocess.Popen(
                command, cwd=folder / "empty", env=environment, stdout=out, stderr=error
            ) as process:
                try:
                    _, status, usage = os.wait4(process.pid, 0)
                except BaseException:
                    process.kill()
                    raise
                process.returncode = os.waitstatus_to_exitcode(status)
            seconds = time.perf_counter() - begun
            out.seek(0)
            error.seek(0)
            # Reports do not show a machine's folders.
            hidden = checkpoint.encode(), Path(checkpoint).name.encode()
            answer = out.read().replace(*hidden)
            told = error.read().replace(*hidden).decode(errors="replace").strip()
        (peak,) = re.findall(r"VmHWM:\s+(\d+) kB", (folder / "peak").read_text())
    return BuildResult(
        precision=result.precision,
        code=result.code,
        seconds=[*result.seconds, seconds],
        processor_seconds=[*result.processor_seconds, usage.ru_utime + usage.ru_stime],
        peak_rss_bytes=[*result.peak_rss_bytes, int(peak) * 1024],
        artefact=json.loads(answer) if process.returncode == 0 else {},
        refusal="" if process.returncode == 0 else (told.splitlines() or ["no message"])[-1],
    )


def _row(result: BuildResult) -> list[str]:
    processor = statistics.median(result.processor_seconds)
    certificate = result.artefact.get("certificate")
    passed = "passed" if certificate and certificate["passed"] else "none"
    return [
        result.precision,
        result.code,
        f"{statistics.median(result.seconds):.1f}",
        f"{processor:.1f}",
        f"{processor / 2:.1f}",
        f"{statistics.median(result.peak_rss_bytes) / 1e9:.2f}",
        "refused" if result.refusal else passed,
    ]


def _differing(ours: Any, theirs: Any, where: str = "") -> Iterator[str]:
    """Where two JSON values differ, but for what is of the run."""
    if isinstance(ours, dict) and isinstance(theirs, dict):
        for name in dict.fromkeys([*ours, *theirs]):
            if name not in _OF_THE_RUN:
                yield from _differing(ours.get(name), theirs.get(name), f"{where}.{name}")
    elif isinstance(ours, list) and isinstance(theirs, list) and len(ours) == len(theirs):
        for index, (one, other) in enumerate(zip(ours, theirs, strict=True)):
            yield from _differing(one, other, f"{where}[{index}]")
    elif ours != theirs:
        yield where.removeprefix(".")
