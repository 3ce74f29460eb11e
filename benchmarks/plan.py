"""What a benchmark is asked to measure, checked before anything is loaded."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from ..errors import ParityError, UsageError
from ..runtime.bundle import Bundle, load_bundle
from .cold_start import STARTS
from .latency import Cell

_LONGEST_SECONDS = 600.0

Number = TypeVar("Number", int, float)


@dataclass(frozen=True)
class Plan:
    """One benchmark. ``compile_batches`` are the batch sizes torch.compile takes part in."""

    bundle: Bundle
    checkpoint: str
    cells: list[Cell]
    threads: int
    repeats: int
    compile_batches: list[int]
    allow_uncertified: bool

    @property
    def steps(self) -> int:
        """How many steps of progress it takes: every cell, and every fresh process."""
        return len(self.cells) + STARTS * (1 + len(self.bundle.artefacts))


def plan(
    folder: Path,
    checkpoint: str,
    windows: str,
    batches: str,
    threads: int | None,
    repeats: int,
    compile_batches: str,
    allow_uncertified: bool,
) -> Plan:
    """Check what the command line asks for; the lists are comma-separated.

    Raises:
        BundleError: not a bundle. ParityError: an artefact has no passing certificate.
        UsageError: a window or batch size that makes no sense.
    """
    import torch

    bundle = load_bundle(folder)
    for artefact in bundle.artefacts:
        if not (artefact.certified or allow_uncertified):
            raise ParityError(
                f"{folder}: {artefact.name} has no passing certificate, so its speed is not "
                f"reported. Run: muqrt parity {folder} --checkpoint {checkpoint}"
            )
    sizes = _numbers("--batches", batches, int)
    framing = bundle.framing
    shortest = framing.minimum_samples / framing.sample_rate_hz
    lengths = _numbers("--windows", windows, float)
    for length in lengths:
        if not (shortest <= length <= _LONGEST_SECONDS):
            raise UsageError(
                f"--windows: {length:g} s; the model takes {shortest:.4f} s (its STFT) or more, "
                f"and a benchmark at most {_LONGEST_SECONDS:g} s."
            )
    if min(sizes) < 1:
        raise UsageError(f"--batches: {min(sizes)}; a batch has at least one row.")
    compiled = _numbers("--compile-batches", compile_batches, int) if compile_batches else []
    if not set(compiled) <= set(sizes):
        raise UsageError(f"--compile-batches {compile_batches}: choose among --batches {batches}.")
    return Plan(
        bundle,
        checkpoint,
        [Cell(length, size) for size in sizes for length in lengths],
        # torch's choice is the physical cores, as ONNX Runtime's is.
        threads or torch.get_num_threads(),
        repeats,
        compiled,
        allow_uncertified,
    )


def _numbers(option: str, text: str, kind: Callable[[str], Number]) -> list[Number]:
    """Comma-separated numbers, ascending, each once."""
    try:
        return sorted({kind(each) for each in text.split(",")})
    except ValueError:
        raise UsageError(f"{option} {text!r}: give numbers separated by commas.") from None
