"""The same script on the official package and on ``muqrt.drop_in``, each time in a new process."""

import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ..errors import SessionError, UsageError
from ..runtime.bundle.certificate import Precision
from ..runtime.bundle.manifest import Bundle
from .measure.agreement import agreement
from .measure.latency import Cell, music
from .measure.report import Report, Section

SCRIPT = Path(__file__).with_name("drop_in_script.py")
OFFICIAL = "the package muq"
_COLUMNS = (
    "contender",
    "processor seconds",
    "times less",
    "seconds",
    "peak memory, GB",
    "relative L2",
    "worst cosine",
)
_NOTE = (
    "Medians. One script, unmodified (benchmarks/drop_in_script.py), gives one hidden state of a "
    "song in one window; every run is a process of its own, and the contenders take turns. "
    "*processor seconds* are those of all threads from the waveform to the state, which neighbours "
    "disturb less than *seconds*; *peak memory* is the process's largest resident memory, weights "
    "and libraries included."
)


@dataclass(frozen=True, kw_only=True)
class DropInResult:
    """One contender.

    Attributes:
        contender: the official package, or an artefact's name.
        processor_seconds, seconds, peak_rss_bytes: of each round.
        relative_l2, worst_frame_cosine: of its state against the official one's.
    """

    contender: str
    processor_seconds: list[float]
    seconds: list[float]
    peak_rss_bytes: list[int]
    relative_l2: float | None = None
    worst_frame_cosine: float | None = None


@dataclass(frozen=True, kw_only=True)
class DropInReport(Report):
    """One run of ``muqrt bench drop-in``.

    Attributes:
        checkpoint: its name.
        audio_seconds: the song's length.
        level: the hidden state that was asked for.
        threads: processors of each contender.
        official_versions: of the packages that the official one ran on.
        found: the official package's figures first, then each artefact's.
    """

    checkpoint: str
    audio_seconds: float
    level: int
    threads: int
    official_versions: dict[str, str]
    found: list[DropInResult]

    def results(self) -> list[Section]:
        """One table: a row for each contender."""
        title = (
            f"Level {self.level} of {self.audio_seconds:g} s on {self.environment['cpu']}, "
            f"processors: {self.threads}"
        )
        versions = ", ".join(f"{name} {each}" for name, each in self.official_versions.items())
        note = f"{_NOTE} Checkpoint: {self.checkpoint}. The official package ran with {versions}."
        base = statistics.median(self.found[0].processor_seconds)
        return [Section(title, _COLUMNS, [_row(each, base) for each in self.found], note)]


def _row(result: DropInResult, base: float) -> list[str]:
    processor = statistics.median(result.processor_seconds)
    cosine, relative = result.worst_frame_cosine, result.relative_l2
    return [
        result.contender,
        f"{processor:.1f}",
        f"{base / processor:.2f}",
        f"{statistics.median(result.seconds):.1f}",
        f"{statistics.median(result.peak_rss_bytes) / 1e9:.2f}",
        "" if relative is None else f"{relative:.1e}",
        "" if cosine is None else f"{cosine:.7f}",
    ]


def measure_drop_in(
    bundle: Bundle,
    checkpoint: str,
    official: str,
    audio_seconds: float,
    level: int,
    threads: int,
    rounds: int,
    names: Sequence[str] = (),
    on_step: Callable[[str], None] = lambda what: None,
) -> DropInReport:
    """Run the script on the official package, and on artefacts of a bundle.

    Args:
        bundle: whose artefacts; it was exported with levels.
        checkpoint: the folder it was made from.
        official: a Python in whose environment the official package is.
        audio_seconds: the song's length.
        level: the hidden state to ask for.
        threads: processors of each contender.
        rounds: how often each runs.
        names: the artefacts; all certified ones for the CPU when empty.
        on_step: called after each process.

    Raises:
        UsageError: that Python has no official package. SessionError: a process failed.
        ParityError: a state is not the official one's.
    """
    chosen = [bundle.artefact(name) for name in names] or [
        each
        for each in bundle.audio_artefacts
        if each.certified and each.engine == "onnxruntime" and each.precision in ("fp32", "int8")
    ]
    versions = _versions(official)
    ours = [sys.executable, "-m", "muqrt.drop_in"]
    commands: dict[str, list[str]] = {OFFICIAL: [official, str(SCRIPT), str(Path(checkpoint))]}
    for each in chosen:
        script = ["--artefact", each.name, str(SCRIPT), str(bundle.folder)]
        commands[f"muqrt.drop_in, {each.name}"] = [*ours, *script]
    precisions: list[Precision] = ["fp32", *(each.precision for each in chosen)]
    found = {
        name: DropInResult(contender=name, processor_seconds=[], seconds=[], peak_rss_bytes=[])
        for name in commands
    }
    with tempfile.TemporaryDirectory() as folder:
        waveform = Path(folder) / "waveform.npy"
        np.save(waveform, music(Cell(audio_seconds, 1)))
        answers = {name: Path(folder) / f"{i}.npy" for i, name in enumerate(commands)}
        for turn in range(rounds):
            for name, command in commands.items():
                arguments = [str(waveform), str(answers[name]), str(level), str(threads)]
                facts = _run(name, [*command, *arguments])
                for figure, value in facts.items():
                    getattr(found[name], figure).append(value)
                on_step(f"{name}, {turn + 1} of {rounds}")
        truth = np.load(answers[OFFICIAL])
        for name, precision in list(zip(commands, precisions, strict=True))[1:]:
            near = agreement(name, precision, np.load(answers[name]), truth)
            found[name] = replace(
                found[name],
                relative_l2=near.relative_l2,
                worst_frame_cosine=near.worst_frame_cosine,
            )
    return DropInReport(
        checkpoint=Path(checkpoint).name,
        audio_seconds=audio_seconds,
        level=level,
        threads=threads,
        official_versions=versions,
        found=list(found.values()),
    )


def _run(name: str, command: Sequence[str]) -> dict[str, float]:
    done = subprocess.run(command, capture_output=True, text=True)
    lines = done.stdout.strip().splitlines()
    if done.returncode != 0 or not lines:
        reason = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise SessionError(f"{name}: the script failed: {reason}")
    found: dict[str, float] = json.loads(lines[-1])
    return found


def _versions(official: str) -> dict[str, str]:
    """What the official package's environment has.

    Raises:
        UsageError: not a Python with the official package.
    """
    code = (
        "import json; from importlib.metadata import distributions; import muq; "
        "found = {each.name: each.version for each in distributions()}; "
        "print(json.dumps({n: found[n] for n in ('muq', 'torch', 'transformers') if n in found}))"
    )
    try:
        done = subprocess.run([official, "-c", code], capture_output=True, text=True)
    except OSError as error:
        raise UsageError(f"--official {official}: cannot be run ({error.strerror}).") from None
    if done.returncode != 0:
        reason = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise UsageError(
            f"--official {official}: the official package cannot be imported there ({reason}). "
            "Name the Python of an environment that has it: pip install muq."
        )
    found: dict[str, str] = json.loads(done.stdout.strip().splitlines()[-1])
    return found
