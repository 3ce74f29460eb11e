"""``muqrt evaluate`` and ``muqrt manifest``."""

from pathlib import Path
from typing import Annotated

import typer

from ...benchmarks.measure.report import check_output, publish, require
from ...common.console import Json, progress, show
from ...errors import UsageError

commands = typer.Typer()


@commands.command()
def evaluate(
    bundles: Annotated[
        list[Path],
        typer.Argument(
            help="Bundle folders, to be compared.", default_factory=list, show_default=False
        ),
    ],
    manifest: Annotated[
        Path, typer.Argument(help="JSONL manifest with labels and splits, or a folder with one.")
    ],
    task: Annotated[
        list[str] | None,
        typer.Option(
            help="Repeatable; all probes that the manifest has labels for. Those of a MuQ-MuLan, "
            "zeroshot-tagging and retrieval, have to be named."
        ),
    ] = None,
    artefact: Annotated[
        list[str] | None, typer.Option(help="Repeatable; all artefacts of the bundles.")
    ] = None,
    text_artefact: Annotated[
        str | None, typer.Option(help="A MuQ-MuLan's text tower; each bundle's first one.")
    ] = None,
    checkpoint: Annotated[
        list[str] | None, typer.Option(help="Folder or hub id, repeatable: judged in PyTorch.")
    ] = None,
    baseline: Annotated[
        list[str] | None,
        typer.Option(
            help="mel: the spectrogram's mean and deviation. untrained: the --checkpoints' "
            "architecture with initial weights."
        ),
    ] = None,
    labels_file: Annotated[
        Path | None,
        typer.Option(help="Tags to judge zero-shot, one a line; all of the manifest's."),
    ] = None,
    template: Annotated[
        list[str] | None,
        typer.Option(help="Repeatable: a sentence that tags are put into, where it has {}."),
    ] = None,
    server: Annotated[
        str | None, typer.Option(help="Judge a Triton server's model: host:port of its gRPC.")
    ] = None,
    model: Annotated[str, typer.Option(help="Name of the model on the server.")] = "muq",
    seeds: Annotated[
        int, typer.Option(min=1, max=100, help="Heads fitted, or initial weights, for the spread.")
    ] = 3,
    hidden: Annotated[int, typer.Option(min=0, help="Neurons of a head; 0 is linear.")] = 0,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Folder for accuracy.json, .md and .png."),
    ] = None,
    predictions: Annotated[
        bool, typer.Option("--predictions", help="Write predictions.jsonl there, too.")
    ] = False,
    cache: Annotated[
        Path | None, typer.Option(help="Folder of computed features; ~/.cache/muqrt.")
    ] = None,
    threads: Annotated[
        int | None, typer.Option(min=1, help="CPU threads; all cores by default.")
    ] = None,
    allow_uncertified: Annotated[
        bool, typer.Option(help="Judge artefacts without a passing certificate too, marked.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Measure how much a model's features know about music.

    What a MuQ-MuLan knows about music and texts is measured without a probe.
    """
    require("train", "mir_eval", "sklearn", "torch")
    from ...benchmarks.accuracy.contenders import Wanted, contenders
    from ...benchmarks.accuracy.evaluation import evaluate as measure
    from ...benchmarks.accuracy.evaluation import splits_by_task
    from ...benchmarks.accuracy.report import AccuracyReport, write_predictions
    from ...benchmarks.accuracy.zero_shot import check_towers, evaluate_zero_shot
    from ...benchmarks.accuracy.zero_shot_tasks import probes_and_zero_shot, zero_shot_tasks
    from ...common.environment import environment, installed
    from ...common.files import cache_folder, sha256
    from ...runtime.text.labels import read_labels
    from ...training.data.manifest import read_recordings

    if predictions and output is None:
        raise UsageError("--predictions are written into a folder: say which with --output.")
    results = output / "accuracy" if output is not None else None
    check_output(results, charts_from="bench")
    recordings = read_recordings(manifest)
    probed, asked = probes_and_zero_shot(task or [])
    probes = splits_by_task(recordings, probed) if probed or not asked else {}
    labels = read_labels(labels_file) if labels_file is not None else None
    questions = zero_shot_tasks(recordings, asked, labels, template)
    wanted = Wanted(
        bundles=bundles,
        artefacts=artefact or [],
        text_artefact=text_artefact,
        checkpoints=checkpoint or [],
        server=server,
        model=model,
        baselines=baseline or [],
        seeds=seeds,
        threads=threads,
        allow_uncertified=allow_uncertified,
    )
    judged = contenders(wanted)
    check_towers(judged, questions)
    files = sum(len(split) for splits in probes.values() for split in splits.values()) * len(judged)
    files += sum(len(each.recordings) * len(one.towers) for each in questions for one in judged)
    with progress("Evaluating", files) as bar:
        done = measure(judged, probes, cache_folder(cache), seeds, hidden, bar.advance)
        evaluate_zero_shot(judged, questions, cache_folder(cache), done, bar.advance)
    libraries = {name: installed(name) or "" for name in ("scikit-learn", "mir_eval")}
    report = AccuracyReport(
        environment={**environment(), **libraries},
        manifest=str(manifest),
        manifest_sha256=sha256(manifest) if manifest.is_file() else None,
        seeds=seeds,
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
    dataset: Annotated[str, typer.Argument(help="gtzan_genre, giantsteps_key, emo, ...")],
    home: Annotated[Path, typer.Option(help="Folder it was unpacked to.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="JSONL manifest to write.")],
    splits: Annotated[
        Path | None, typer.Option(help="Folder of train*.txt, valid*.txt, test*.txt to use.")
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
        f"{missing} audio files are not there; they will be left out." if missing else "",
    )
