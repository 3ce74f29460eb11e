"""The tags that are shown, judged on a manifest that knows only some of them."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from muqrt.benchmarks.accuracy.evaluation import Evaluation
from muqrt.benchmarks.accuracy.shown_tags import Shown, _constant, _judge
from muqrt.errors import UsageError
from muqrt.training.data.manifest import Recording

from .command import evaluate, refused, rows_of, write_rows


def recording(tags: tuple[str, ...], unknown: tuple[str, ...]) -> Recording:
    return Recording(audio=Path("a.flac"), split="test", tags=tags, tags_unknown=unknown)


def test_counts_and_families_by_hand() -> None:
    recordings = [
        recording(("metal", "rock and metal"), ("calm",)),
        recording(("orchestral", "calm"), ()),
        recording(("orchestral",), ("calm", "metal")),
    ]
    tags = ["metal", "calm", "classical"]  # the manifest never says "classical"
    scores = np.array([[0.9, 0.8, 0.1], [0.6, 0.7, 0.9], [0.1, 0.2, 0.3]], np.float32)
    done = Evaluation([], [], [])
    _judge("ours", Shown(tags, scores, scores > 0.5), recordings, done)
    counts = {each.tag: (each.holds, each.not_holds, each.right, each.wrong) for each in done.tags}
    assert counts == {"metal": (1, 1, 1, 1), "calm": (1, 0, 1, 0)}
    measured = {name: value for name, (value,) in done.results[0].metrics.items()}
    assert measured == pytest.approx(
        {
            "precision": 2 / 3,
            "recall": 2 / 5,
            "tags shown for a track": 5 / 3,
            "tracks with no tag": 1 / 3,
            "family: answered": 2 / 3,
            "family: right where answered": 1.0,
            "family: right of all": 2 / 3,
        }
    )
    constant = _constant(tags, recordings)
    shown = {tag for tag, does in zip(constant.tags, constant.is_shown[0], strict=True) if does}
    assert shown == {"calm", "orchestral"}


def test_a_bundles_own_tags_and_a_head_on_the_mel(
    tagged_bundle: Path, labelled: Path, tmp_path: Path
) -> None:
    rows = [{**row, "tags_unknown": []} for row in rows_of(labelled) if "tags" in row]
    for place, row in enumerate(rows):
        row["split"] = ("valid", "test")[place % 2]
    real = write_rows(rows, tmp_path)
    asked = (real, "--task", "shown-tags", "--cache", tmp_path / "cache")
    without = evaluate(tagged_bundle, *asked, "--baseline", "mel")
    assert "mel has no tags: give --training" in refused(without, UsageError)
    folder = tmp_path / "results"
    options = ("--baseline", "mel", "--training", labelled, "-o", folder)
    result = evaluate(tagged_bundle, *asked, *options)
    assert result.exit_code == 0, result.output
    report: dict[str, Any] = json.loads((folder / "accuracy.json").read_text())
    names = [each["contender"] for each in report["results"]]
    assert names == [f"{tagged_bundle.name}/onnx-fp32", "mel", "always the same"]
    by_name = {each["contender"]: each["metrics"] for each in report["results"]}
    assert by_name["mel"]["precision"]["mean"] > 0.7
    assert {each["contender"] for each in report["tags"]} >= {"mel"}
    page = (folder / "accuracy.md").read_text()
    assert "## Tags shown" in page and "| always the same |" in page
