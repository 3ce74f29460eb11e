"""What an evaluation of accuracy measured."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ...common.files import atomic_file
from ..measure.charts import Bar, draw_bars
from ..measure.report import Draw, Report, Section
from .evaluation import SHOWN_TAGS, Evaluation, Result, TagCount
from .metrics import MEDIAN_RANK, PAPER_METRICS, SHOWN
from .zero_shot_tasks import ZERO_SHOT

# How much wider a panel is than the longest possible bar, which leaves room for the label.
_LABEL_ROOM = 1.25
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
    "ranked by the cosines of their embeddings with those of texts. Figures of *untrained* "
    "towers are the mean over initial weights. *median rank* is a rank, 1 being the best; R@1 and "
    "R@10 are percentages. Texts are the manifest's captions, or lists of the labels where it has "
    "none. Where several recordings have a text, the best placed of them counts; wrong ones with "
    "the same score rank before it."
)

_SHOWN_METHOD = (
    "*shown-tags* judges the tags that reach their thresholds in the mean over a recording's "
    "windows, where the manifest says whether they hold. A model with a head is judged by its own "
    "tags. For others a head is fitted to the features of the training music; its thresholds are "
    "calibrated on that music's validation split and on the manifest's, and tags without the "
    "precision wanted are left out. Recall counts every tag that holds, in a vocabulary or not. "
    "*always the same* is the best answer that is the same for all recordings, chosen on the test "
    "itself."
)


@dataclass(frozen=True, kw_only=True)
class AccuracyReport(Report):
    """One run of ``muqrt evaluate``.

    Attributes:
        manifest, manifest_sha256: the recordings; no hash where the manifest is a folder.
        seeds: how many heads were fitted, or initial weights tried.
        hidden: hidden neurons of a head.
        contenders: facts by name.
        evaluation: the results.
    """

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
        facts["tags"] = list(map(asdict, self.evaluation.tags))
        del facts["evaluation"]
        return facts

    def results(self) -> list[Section]:
        """One table: a row for each task's metric, a column for each contender."""
        names = list(dict.fromkeys([*self.contenders, *(e.contender for e in self._results)]))
        rows = []
        for task in self._tasks:
            here = {each.contender: each for each in self._results if each.task == task}
            first = next(iter(here.values()))
            for metric in first.metrics:
                cells = [
                    cell(metric, here[name].metrics[metric]) if name in here else ""
                    for name in names
                ]
                rows.append([f"{task}: {metric}", str(first.tracks["test"]), *cells])
        title = f"Accuracy on {self.manifest}, {self.seeds} seed{'s' * (self.seeds > 1)}"
        methods = [_METHOD] if self._probes else []
        methods += [_ZERO_SHOT_METHOD] if set(self._tasks) & set(ZERO_SHOT) else []
        columns = ("task: metric", "test recordings", *names)
        methods += [_SHOWN_METHOD] if SHOWN_TAGS in self._tasks else []
        tables = [Section(title, columns, rows, "\n\n".join(methods))]
        return [*tables, *([self._tag_table()] if self.evaluation.tags else [])]

    def _tag_table(self) -> Section:
        names = list(dict.fromkeys(each.contender for each in self.evaluation.tags))
        found = {(each.contender, each.tag): each for each in self.evaluation.tags}
        known = {each.tag: each for each in reversed(self.evaluation.tags)}
        rows = [
            [tag, str(known[tag].holds), str(known[tag].not_holds)]
            + [_shares(found.get((name, tag))) for name in names]
            for tag in sorted(known)
        ]
        columns = ("tag", "holds", "does not", *names)
        note = (
            "Precision and recall in percent; in brackets, how often it was shown rightly, wrongly."
        )
        return Section("Tags shown", columns, rows, note)

    def remarks(self) -> list[str]:
        """The recordings that were left out, a line each."""
        skipped = self.evaluation.skipped
        if not skipped:
            return []
        shown = [f"- {each.path}: {each.reason}" for each in skipped[:_LISTED]]
        more = [f"- and {len(skipped) - _LISTED} more"] if len(skipped) > _LISTED else []
        return [f"Left out, whole or in part: {len(skipped)}.", *shown, *more]

    def details(self) -> list[Section]:
        """The recordings used, and what was measured."""
        counts = {
            each.task: [each.task, *map(str, each.tracks.values()), str(each.labels)]
            for each in self.evaluation.results
        }
        facts = [
            [name, "; ".join(f"{key}: {value}" for key, value in about.items())]
            for name, about in self.contenders.items()
        ]
        heads = f"Heads with {self.hidden or 'no'} hidden neurons. " if self._probes else ""
        digest = f", SHA-256 `{self.manifest_sha256}`" if self.manifest_sha256 else ""
        about = f"{heads}Manifest {self.manifest}{digest}."
        columns = ("task", "train", "valid", "test", "labels or texts")
        return [
            Section("Recordings used", columns, list(counts.values())),
            Section("What was measured", ("", ""), facts, about),
        ]

    def charts(self) -> Mapping[str, Draw]:
        """The metrics that papers report."""
        return {"": partial(draw, self.results()[0].title, self.evaluation.results)}

    @property
    def _results(self) -> list[Result]:
        return self.evaluation.results

    @property
    def _tasks(self) -> list[str]:
        return list(dict.fromkeys(each.task for each in self.evaluation.results))

    @property
    def _probes(self) -> bool:
        """Whether heads were fitted."""
        return not set(self._tasks) <= {*ZERO_SHOT, SHOWN_TAGS}


def draw(title: str, results: Sequence[Result], path: Path) -> None:
    """Write a PNG: a bar per contender in each panel, with the standard deviation over seeds."""
    panels: dict[str, dict[str, Bar]] = {}
    for each in results:
        for metric in PAPER_METRICS[each.task]:
            panel = panels.setdefault(f"{each.task}: {metric}", {})
            panel[each.contender] = _bar(each.metrics[metric])
    draw_bars(title, panels, _LABEL_ROOM, path, limit=100)


def _bar(values: Sequence[float]) -> Bar:
    mean, deviation = 100 * float(np.mean(values)), 100 * float(np.std(values))
    # An R2 below zero has no bar; its label says it.
    return Bar(max(mean, 0.0), deviation, deviation, f"{mean:.1f}")


def cell(metric: str, values: Sequence[float]) -> str:
    """Mean and standard deviation, times 100 unless it is a rank."""
    scale = 1 if metric.endswith((MEDIAN_RANK, SHOWN)) else 100
    mean, deviation = scale * np.mean(values), scale * np.std(values)
    return f"{mean:.1f} ± {deviation:.1f}" if len(values) > 1 else f"{mean:.1f}"


def _shares(count: TagCount | None) -> str:
    if count is None:
        return "not a tag"
    shown = count.right + count.wrong
    precision = f"{100 * count.right / shown:.0f}" if shown else "-"
    recall = f"{100 * count.right / count.holds:.0f}" if count.holds else "-"
    return f"{precision}, {recall} ({count.right}, {count.wrong})"


def write_predictions(evaluation: Evaluation, path: Path) -> None:
    """Write every answer beside the truth, in JSON, one a line."""
    lines = [json.dumps(each, ensure_ascii=False) for each in evaluation.predictions]
    with atomic_file(path) as temporary:
        # A file's name may be bytes that are no text.
        text = "".join(f"{line}\n" for line in lines)
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace")


def _result(result: Result) -> dict[str, Any]:
    summary = {
        name: {"mean": float(np.mean(values)), "deviation": float(np.std(values)), "seeds": values}
        for name, values in result.metrics.items()
    }
    return {**asdict(result), "metrics": summary}
