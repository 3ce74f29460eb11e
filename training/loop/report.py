"""How a training ended, for people and for machines."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ...common.console import Table, show


@dataclass(frozen=True)
class TrainingReport:
    """How a training ended.

    Attributes:
        output: what it made.
        steps: done in all.
        seconds: spent training, over all its starts.
        first, last: the first and last logged row.
        valid: loss and figures on held-out crops.
        skipped: how many files could not be used.
        skipped_list: where they are listed.
        pieces: what each stretch without a break was trained with.
    """

    output: Path
    steps: int
    seconds: float
    first: Mapping[str, float]
    last: Mapping[str, float]
    valid: Mapping[str, Any]
    skipped: int
    skipped_list: Path
    pieces: Sequence[Mapping[str, Any]] = ()

    def show(self, as_json: bool) -> None:
        """Say it once, however many processes there are."""
        if os.environ.get("LOCAL_RANK", "0") != "0" or os.environ.get("NODE_RANK", "0") != "0":
            return
        paths = {"output": str(self.output), "skipped_list": str(self.skipped_list)}
        show(as_json, {**asdict(self), **paths}, *self._lines())

    def _lines(self) -> list[str | Table]:
        lines: list[str | Table] = [
            f"{self.steps} steps in {self.seconds / 3600:.2f} h: loss "
            f"{self.first['loss']:.3f} -> {self.last['loss']:.3f}."
        ]
        if "stages" in self.valid:
            lines.append(_stages(self.valid))
        elif "matched" in self.valid:
            lines.append(
                f"Held out: loss {self.valid['loss']:.3f}, own caption nearest "
                f"{self.valid['matched']:.3f}."
            )
        else:
            lines.append(
                f"Held out: loss {self.valid['loss']:.3f}, masked accuracy "
                f"{self.valid['accuracy']:.3f}."
            )
        if self.skipped:
            lines.append(f"{self.skipped} files skipped: see {self.skipped_list}")
        return [*lines, f"Written to {self.output}"]


def _stages(figures: Mapping[str, Any]) -> Table:
    rows = [
        (index, f"{stage['residual']:.4f}", stage["used"], f"{stage['perplexity']:.0f}")
        for index, stage in enumerate(figures["stages"])
    ]
    columns = ("stage", "mean |residual|", "codes used", "perplexity")
    return Table(f"Held out: mean |input| {figures['input']:.4f}", columns, rows)
