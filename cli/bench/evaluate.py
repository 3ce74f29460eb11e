"""``muqrt evaluate`` and ``muqrt manifest``."""

from pathlib import Path
from typing import Annotated

import typer

from ...benchmarks.accuracy.request import Wanted
from ...benchmarks.measure.report import check_output, publish
from ...common.console import Json, progress, show
from ...common.environment import import_extra
from ...errors import UsageError
from ..parameters import expand_options

commands = typer.Typer()


@commands.command()
@expand_options
def evaluate(
    wanted: Wanted,
    manifest: Annotated[
        Path, typer.Argument(help="JSONL manifest with labels and splits, or a folder with one.")
    ],
    task: Annotated[
        list[str] | None,
        typer.Option(
            help="Task to evaluate, repeatable; by default all probes that the manifest has labels "
            "for. For a MuQ-MuLan, also zeroshot-tagging and retrieval; for tags, shown-tags."
        ),
    ] = None,
    labels_file: Annotated[
        Path | None,
        typer.Option(
            help="Tags for zeroshot-tagging, one a line; all tags of the manifest by default."
        ),
    ] = None,
    template: Annotated[
        list[str] | None,
        typer.Option(help="Sentence to put tags into, in the place of {}. Repeatable."),
    ] = None,
    hidden: Annotated[
        int, typer.Option(min=0, help="Hidden neurons of a head; 0 for a linear one.")
    ] = 0,
    training: Annotated[
        Path | None,
        typer.Option(help="For shown-tags: music for the heads of models that have no tags."),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Folder for accuracy.json, .md and .png."),
    ] = None,
    predictions: Annotated[
        bool, typer.Option("--predictions", help="Write predictions.jsonl there too.")
    ] = False,
    cache: Annotated[
        Path | None, typer.Option(help="Folder for computed features; ~/.cache/muqrt by default.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Measure how much a model's features know about music.

    What a MuQ-MuLan knows about music and texts is measured without a probe.
    """
    import_extra("train", "mir_eval", "sklearn", "torch")
    from ...benchmarks.accuracy.contenders import contenders
    from ...benchmarks.accuracy.evaluation import SHOWN_TAGS, splits_by_task
    from ...benchmarks.accuracy.evaluation import evaluate as measure
    from ...benchmarks.accuracy.report import AccuracyReport, write_predictions
    from ...benchmarks.accuracy.shown_tags import evaluate_shown_tags
    from ...benchmarks.accuracy.zero_shot import check_towers, evaluate_zero_shot
    from ...benchmarks.accuracy.zero_shot_tasks import probes_and_zero_shot, zero_shot_tasks
    from ...common.environment import environment, installed
    from ...common.files import cache_folder, sha256
    from ...runtime.text.labels import read_labels
    from ...training.data.manifest import read_recordings

    if predictions and output is None:
        raise UsageError("--predictions needs a folder: give one with --output.")
    results = output / "accuracy" if output is not None else None
    check_output(results, charts_from="bench")
    recordings = read_recordings(manifest)
    named = [each for each in task or [] if each != SHOWN_TAGS]
    shows = SHOWN_TAGS in (task or [])
    probed, asked = probes_and_zero_shot(named)
    probes = splits_by_task(recordings, probed) if probed or not (asked or shows) else {}
    taught = read_recordings(training) if training is not None else []
    labels = read_labels(labels_file) if labels_file is not None else None
    questions = zero_shot_tasks(recordings, asked, labels, template)
    judged = contenders(wanted)
    check_towers(judged, questions)
    files = sum(len(split) for splits in probes.values() for split in splits.values()) * len(judged)
    files += sum(len(each.recordings) * len(one.towers) for each in questions for one in judged)
    with progress("Evaluating", files) as bar:
        done = measure(judged, probes, cache_folder(cache), wanted.seeds, hidden, bar.advance)
        evaluate_zero_shot(done, judged, questions, cache_folder(cache), bar.advance)
        if shows:
            evaluate_shown_tags(done, judged, recordings, taught, cache_folder(cache), bar.advance)
    libraries = {name: installed(name) or "" for name in ("scikit-learn", "mir_eval")}
    report = AccuracyReport(
        environment={**environment(), **libraries},
        manifest=str(manifest),
        manifest_sha256=sha256(manifest) if manifest.is_file() else None,
        seeds=wanted.seeds,
        hidden=hidden,
        contenders={each.name: each.facts for each in judged},
        evaluation=done,
    )
    further = []
    if output is not None and predictions:
        further.append(output / "predictions.jsonl")
        write_predictions(done, further[0])
    publish(report, results, as_json, further)


@commands.command("manifest")
def write_manifest(
    dataset: Annotated[
        str, typer.Argument(help="Name of the dataset: gtzan_genre, giantsteps_key, emo, ...")
    ],
    home: Annotated[Path, typer.Option(help="Folder that the dataset was unpacked to.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="JSONL manifest to write.")],
    splits: Annotated[
        Path | None,
        typer.Option(help="Folder of train*.txt, valid*.txt and test*.txt with other splits."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Write a dataset's labels and splits for muqrt evaluate."""
    from collections import Counter

    from ...benchmarks.accuracy.datasets import read_dataset
    from ...training.data.manifest import write_recordings

    found = read_dataset(dataset, home, splits)
    write_recordings(found, output)
    counts = Counter(str(each.split) for each in found)
    summary = ", ".join(f"{number} {name}" for name, number in counts.items())
    missing = sum(not each.audio.is_file() for each in found)
    show(
        as_json,
        {"manifest": str(output), "recordings": counts, "missing_audio": missing},
        f"Wrote {output}: {summary}.",
        f"{missing} audio files are missing; they will be left out." if missing else "",
    )
