"""One model on every target of the edge: how large, how near to the reference, how fast here."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from ..errors import CheckpointError, MuqrtError, SessionError, UsageError
from ..export.bundle.recipe import add
from ..export.bundle_from_checkpoint import bundle_from_checkpoint
from ..export.parity.excerpt import excerpts
from ..export.parity.proof import Proof
from ..export.recipes import IN_ORT_FORMAT, RECIPES, BuildOptions, Choice
from ..export.sources.checkpoint import load_source
from ..export.sources.head import find_head
from ..export.sources.rvq import own_rvq
from ..export.sources.score_head import load_head
from ..runtime.bundle.certificate import Certificate
from ..runtime.bundle.engine_options import NEVER_RUN
from ..runtime.bundle.manifest import Artefact, Bundle, load_bundle
from .measure.contenders import from_artefact
from .measure.latency import Cell, music
from .measure.report import Report, Section
from .measure.timing import Run, by_turns, spread

OnStep = Callable[[str], None]

_AUDIO, _PLAIN = RECIPES["audio"], "ONNX Runtime"
# By target: what is built for it, each precision once.
TARGETS: dict[str, tuple[Choice, ...]] = {
    _PLAIN: (_AUDIO["onnxruntime", "int8"],),
    "ONNX Runtime, .ort": (*IN_ORT_FORMAT.values(),),
    "ExecuTorch, XNNPACK": (_AUDIO["executorch", "fp32"], _AUDIO["executorch", "int8"]),
    "LiteRT": (_AUDIO["litert", "fp32"], _AUDIO["litert", "int8"]),
    "Core ML, interpreted": (_AUDIO["coreml", "fp32"], _AUDIO["coreml", "mixed"]),
}
_CELL = Cell(window_seconds=10.0, batch=1)
_BUDGET_SECONDS = 90.0
_COLUMNS = (
    "target",
    "processor",
    "precision",
    "MB",
    "worst cosine",
    "relative L2",
    "tokens equal",
    "largest change of a tag",
    "ms",
    "10th percentile",
)
_NOTE = (
    "Against the fp32 PyTorch reference, over all excerpts and every way to ask. *ms*: the median "
    f"for a window of {_CELL.window_seconds:g} s, targets by turns, on this machine's processor; "
    "the 10th percentile depends less on what else runs. *emulated*: what the numbers are on such "
    "a processor, by qemu; how fast it is was not measured. *interpreted*: the saved program, by "
    f"numpy; {NEVER_RUN}. A target without tokens or tags does not compute them."
)


@dataclass(frozen=True, kw_only=True)
class TargetResult:
    """One artefact on one processor.

    Attributes:
        target: what it is for.
        artefact, precision: its name and precision.
        processor: its name, as the certificate has it.
        emulated: what qemu calls it; empty where it was there.
        size_bytes: of the artefact's files.
        passed: whether it is within its gates.
        worst_frame_cosine, relative_l2: the worst.
        equal_tokens, largest_tag_change: the worst; None where it has no such output.
        samples_seconds: of a window, one per round; empty where it does not run here.
    """

    target: str
    artefact: str
    precision: str
    processor: str
    emulated: str
    size_bytes: int
    passed: bool
    worst_frame_cosine: float
    relative_l2: float
    equal_tokens: float | None
    largest_tag_change: float | None
    samples_seconds: list[float]


@dataclass(frozen=True, kw_only=True)
class TargetsReport(Report):
    """One run of ``muqrt bench targets``.

    Attributes:
        checkpoint: its name.
        threads: of the CPU, when timed.
        audio: names of the excerpts that were compared on.
        found: by processor, then by target.
        load_average: of the machine, after the timing: over the last minute.
        refused: why a target was not built or timed, by its artefact; why nothing was proven on an
            emulated processor, by its name.
    """

    checkpoint: str
    threads: int
    audio: list[str]
    found: list[TargetResult]
    load_average: float
    refused: dict[str, str]

    def results(self) -> list[Section]:
        """A row for each artefact on each processor."""
        where = f"{self.environment['cpu']}, threads: {self.threads}"
        title = f"{self.checkpoint} on its targets; ms on {where}"
        note = f"{_NOTE} Load average: {self.load_average:.1f}."
        return [Section(title, _COLUMNS, [_row(each) for each in self.found], note)]

    def remarks(self) -> list[str]:
        """What was not built or does not run here."""
        return [f"{name}: {reason}" for name, reason in self.refused.items()]


def measure_targets(
    checkpoint: str,
    emulated: Mapping[str, Path],
    longest_seconds: float,
    threads: int,
    rounds: int,
    on_step: OnStep = lambda what: None,
) -> TargetsReport:
    """Build everything for a checkpoint and compare it, here and on emulated processors.

    Args:
        checkpoint: its folder or name; its own head and RVQ are used.
        emulated: a Python that can import the runtime, by the processor that it runs on.
        longest_seconds: of the music that is compared on.
        threads: of the CPU.
        rounds: how often each is timed.
        on_step: called after each step.

    Raises:
        UsageError: no music is so short.
    """
    refused: dict[str, str] = {}
    with tempfile.TemporaryDirectory(prefix="muqrt-targets") as name:
        folder = Path(name)
        bundle, targets = build(checkpoint, folder / "bundle", longest_seconds, refused, on_step)
        samples = dict(_timed(bundle, threads, rounds, refused))
        load_average = os.getloadavg()[0]
        on_step("timed")
        found = [
            _result(bundle, each, target, "", samples.get(each.name, []))
            for each in bundle.audio_artefacts
            if (target := targets.get(each.name)) and each.certificate is not None
        ]
        for processor, python in emulated.items():
            try:
                there = _proven_there(bundle, folder / f"on-{processor}", python)
            except SessionError as error:
                refused[processor] = str(error)
            else:
                found += [
                    _result(there, each, targets[each.name], processor, []) for each in _new(there)
                ]
            on_step(processor)
    return TargetsReport(
        checkpoint=Path(checkpoint).name,
        threads=threads,
        audio=bundle.answers.audio if bundle.answers is not None else [],
        found=found,
        load_average=load_average,
        refused=refused,
    )


def build(
    checkpoint: str,
    folder: Path,
    longest_seconds: float,
    refused: dict[str, str],
    on_step: OnStep = lambda what: None,
) -> tuple[Bundle, dict[str, str]]:
    """Export a checkpoint and build every target; returns the bundle, and each artefact's target.

    ``refused`` gets the reasons of those that cannot be built here.
    """
    chosen = [each for each in excerpts() if each.seconds <= longest_seconds]
    if not chosen:
        raise UsageError(f"no excerpt is as short as {longest_seconds:g} s; allow 1 s.")
    source, head = load_source(checkpoint), find_head(checkpoint)
    outputs = ["embedding"]
    try:
        rvq = own_rvq(source)
        outputs.append("tokens")
    except CheckpointError:
        rvq = None
    proof = Proof(source, load_head(head) if head is not None else None, rvq, chosen, on_step)
    bundle = bundle_from_checkpoint(proof, folder, outputs)
    targets = {bundle.artefacts[0].name: _PLAIN}
    # Of files that take windows of one length alone; the others take every length.
    options = BuildOptions(engine={"window_seconds": f"{_CELL.window_seconds:g}"})
    for target, choices in TARGETS.items():
        for choice in choices:
            try:
                added = add(bundle, choice.recipe(bundle, options), proof)
            except MuqrtError as error:
                refused[f"{target}, {choice.precision}"] = str(error)
            else:
                targets[added.name] = target
    return bundle, targets


def _timed(
    bundle: Bundle, threads: int, rounds: int, refused: dict[str, str]
) -> Iterator[tuple[str, list[float]]]:
    waveform, runs = music(_CELL), dict[str, Run]()
    for each in bundle.audio_artefacts:
        try:
            contender = from_artefact(bundle, each, threads)
            contender.run(waveform)
        except MuqrtError as error:
            refused[each.name] = f"not timed: {error}"
        else:
            runs[each.name] = partial(contender.run, waveform)
    yield from by_turns(runs, rounds, _BUDGET_SECONDS, warm_up=True).items()


def _proven_there(bundle: Bundle, folder: Path, python: Path) -> Bundle:
    """A copy of the bundle, with certificates of what another Python's processor runs alone.

    Raises:
        SessionError: that Python cannot be run, or nothing was proven.
    """
    there = load_bundle(shutil.copytree(bundle.folder, folder))
    for each in there.artefacts:
        each.certificate = None
    there.save(folder)
    try:
        command = [str(python.absolute()), "-m", "muqrt", "parity", str(folder), "--json"]
        done = subprocess.run(command, capture_output=True, text=True)
    except OSError as error:
        raise SessionError(f"{python}: cannot be run ({error.strerror}).") from None
    there = load_bundle(folder)
    if not _new(there):
        reason = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise SessionError(f"{python}: muqrt parity proves nothing there: {reason}")
    return there


def _new(bundle: Bundle) -> list[Artefact]:
    return [each for each in bundle.audio_artefacts if each.certificate is not None]


def _result(
    bundle: Bundle, artefact: Artefact, target: str, emulated: str, samples: list[float]
) -> TargetResult:
    certificate = artefact.certificate
    assert isinstance(certificate, Certificate)
    worst, measured = certificate.worst, {each.output for each in certificate.measurements}
    return TargetResult(
        target=target,
        artefact=artefact.name,
        precision=artefact.precision,
        processor=certificate.environment["cpu"],
        emulated=emulated,
        size_bytes=bundle.size_bytes(artefact),
        passed=certificate.passed,
        worst_frame_cosine=worst.worst_frame_cosine,
        relative_l2=worst.relative_l2,
        equal_tokens=worst.equal_tokens if "tokens" in measured else None,
        largest_tag_change=worst.largest_tag_change if "tags" in measured else None,
        samples_seconds=samples,
    )


def _row(found: TargetResult) -> list[str]:
    share, change = found.equal_tokens, found.largest_tag_change
    times = spread(found.samples_seconds) if found.samples_seconds else None
    where = f"{found.emulated}, emulated" if found.emulated else found.processor
    return [
        found.target,
        where,
        found.precision if found.passed else f"{found.precision}: FAILED",
        f"{found.size_bytes / 1e6:.1f}",
        f"{found.worst_frame_cosine:.8f}",
        f"{found.relative_l2:.1e}",
        "" if share is None else f"{share:.3%}",
        "" if change is None else f"{change:.1e}",
        "" if times is None else f"{times.median * 1e3:.3g}",
        "" if times is None else f"{times.p10 * 1e3:.3g}",
    ]
