"""An evaluation's results as JSON, Markdown, a chart, and a table for the terminal."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ...common.files import atomic_file
from ...errors import MissingDependencyError, UsageError
from ..model.tables import Table
from ..style import markdown_table
from .evaluation import Evaluation, Result
from .ranking import MEDIAN_RANK
from .zero_shot_tasks import ZERO_SHOT

_LISTED = 20  # files left out, in the page; the JSON has all
_METHOD = (
    "A head is fitted to the frozen features of the training split, early stopped and chosen by "
    "its loss on the validation split, and judged on the test split, a recording at a time. "
    "*mel* is the mean and standard deviation over time of the log-mel, with the same head. "
    "Figures are the mean over seeds, with the standard deviation where there are several, times "
    "100. Nothing but the head's seed differs between them."
)
_ZERO_SHOT_METHOD = (
    "Nothing is trained for *zeroshot-tagging* and *retrieval*: the test split's recordings are "
    "ranked by the cosines of their embeddings with those of texts. Of *untrained* towers figures "
    "are the mean over initial weights. *median rank* is a rank, 1 being the best; R@1 and R@10 "
    "are percentages. Texts are the manifest's captions, or lists of the labels where it has none. "
    "Where several recordings have a text, the best placed of them counts; wrong ones with the "
    "same score stand before it."
)


@dataclass(frozen=True)
class AccuracyReport:
    """One run of ``muqrt evaluate``; ``document`` is its JSON."""

    created: str
    command: str
    environment: dict[str, str]
    manifest: str
    manifest_sha256: str | None
    seeds: int
    hidden: int
    contenders: dict[str, dict[str, Any]]
    evaluation: Evaluation

    def document(self) -> dict[str, Any]:
        """Everything but the predictions, in JSON's types."""
        facts = {**vars(self), "results": list(map(_result, self.evaluation.results))}
        facts["skipped"] = [
            {"audio": str(each.path), "reason": each.reason} for each in self.evaluation.skipped
        ]
        del facts["evaluation"]
        return facts


def result_table(report: AccuracyReport) -> Table:
    """A row for each task's metric, a column for each contender."""
    results = report.evaluation.results
    names = list(report.contenders)
    rows = []
    for task in dict.fromkeys(each.task for each in results):
        here = {each.contender: each for each in results if each.task == task}
        first = here[names[0]]
        for metric in first.metrics:
            cells = [cell(metric, here[name].metrics[metric]) for name in names]
            rows.append([f"{task}: {metric}", str(first.tracks["test"]), *cells])
    title = f"Accuracy on {report.manifest}, {report.seeds} seed{'s' * (report.seeds > 1)}"
    return Table(title, ("task: metric", "test recordings", *names), rows)


def cell(metric: str, values: Sequence[float]) -> str:
    """Mean and standard deviation, times 100 unless it is a rank."""
    scale = 1 if metric.endswith(MEDIAN_RANK) else 100
    mean, deviation = scale * np.mean(values), scale * np.std(values)
    return f"{mean:.1f} ± {deviation:.1f}" if len(values) > 1 else f"{mean:.1f}"


def remarks(report: AccuracyReport) -> list[str]:
    """What the table does not say, a line each."""
    skipped = report.evaluation.skipped
    if not skipped:
        return []
    shown = [f"  {each.path}: {each.reason}" for each in skipped[:_LISTED]]
    more = [f"  and {len(skipped) - _LISTED} more"] if len(skipped) > _LISTED else []
    return [f"Left out, whole or in part: {len(skipped)}.", *shown, *more]


def check_output(folder: Path) -> None:
    """Refuse a place that cannot be written before minutes are spent.

    Raises:
        UsageError: ``folder`` is a file. MissingDependencyError: no matplotlib.
    """
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder}: a file is in the way; give a folder for the results.")
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        raise MissingDependencyError(
            "the chart needs matplotlib. Run: pip install 'muqrt[bench]'"
        ) from None


def write_report(report: AccuracyReport, folder: Path, predictions: bool) -> list[Path]:
    """Write accuracy.json, .md and .png, and predictions.jsonl when wanted.

    Returns:
        The files written.
    """
    from .chart import draw

    texts = {
        "accuracy.json": json.dumps(report.document(), indent=2) + "\n",
        "accuracy.md": _markdown(report),
    }
    if predictions:
        lines = [json.dumps(each, ensure_ascii=False) for each in report.evaluation.predictions]
        texts["predictions.jsonl"] = "".join(f"{line}\n" for line in lines)
    for name, text in texts.items():
        with atomic_file(folder / name) as temporary:
            # A file's name may be bytes that are no text.
            temporary.write_text(text, encoding="utf-8", errors="backslashreplace")
    with atomic_file(folder / "accuracy.png") as temporary:
        draw(result_table(report).title, report.evaluation.results, temporary)
    return [folder / name for name in (*texts, "accuracy.png")]


def _result(result: Result) -> dict[str, Any]:
    summary = {
        name: {"mean": float(np.mean(values)), "deviation": float(np.std(values)), "seeds": values}
        for name, values in result.metrics.items()
    }
    return {**asdict(result), "metrics": summary}


def _markdown(report: AccuracyReport) -> str:
    table = result_table(report)
    counts = {
        each.task: [each.task, *map(str, each.tracks.values()), str(each.labels)]
        for each in report.evaluation.results
    }
    probes, zero_shot = set(counts) - set(ZERO_SHOT), set(counts) & set(ZERO_SHOT)
    facts = [
        [name, "; ".join(f"{key}: {value}" for key, value in about.items())]
        for name, about in report.contenders.items()
    ]
    parts = [
        "# accuracy",
        f"`{report.command}`, {report.created}",
        f"## {table.title}",
        markdown_table(table.columns, table.rows),
        _METHOD if probes else "",
        _ZERO_SHOT_METHOD if zero_shot else "",
        *remarks(report)[:1],
        "\n".join(f"- {line.strip()}" for line in remarks(report)[1:]),
        f"![{table.title}](accuracy.png)",
        "## Recordings used",
        markdown_table(
            ("task", "train", "valid", "test", "labels or texts"), list(counts.values())
        ),
        "## What was measured",
        markdown_table(("", ""), facts),
        f"Heads with {report.hidden or 'no'} hidden neurons." if probes else "",
        f"Manifest {report.manifest}, SHA-256 `{report.manifest_sha256}`."
        if report.manifest_sha256
        else f"Manifest {report.manifest}.",
        "## Where",
        markdown_table(("", ""), [[*each] for each in report.environment.items()]),
    ]
    return "\n\n".join(filter(None, parts)) + "\n"
