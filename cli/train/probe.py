"""``muqrt train probe``."""

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ...common.console import Json, progress, show
from ...errors import UsageError
from .options import require_extra

if TYPE_CHECKING:
    from lightning_fabric import Fabric

    from ...reference.checkpoint import Checkpoint
    from ...training.data.manifest import Recording
    from ...training.loop.plan import TrainingPlan
    from ...training.probe.train import Probe, Trained

commands = typer.Typer()


@commands.command()
def probe(
    checkpoint: Annotated[
        str, typer.Argument(help="Folder, .pt file or hub id, as OpenMuQ/MuQ-large-msd-iter.")
    ],
    manifest: Annotated[
        Path, typer.Argument(help="JSONL manifest with labels and splits, or a folder with one.")
    ],
    task: Annotated[str, typer.Option(help="What the head answers: tagging, genre, key, ...")],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="The head's folder, to give to muqrt export.")
    ],
    levels: Annotated[
        str, typer.Option(help="Hidden states to mix, comma-separated; 0 is the front end's.")
    ] = "all",
    hidden: Annotated[int, typer.Option(min=0, help="Neurons of the head; 0 is linear.")] = 0,
    seed: Annotated[int, typer.Option(min=0, help="Of weights and batches.")] = 0,
    fine_tune_steps: Annotated[
        int, typer.Option(min=0, help="Train MuQ, too; OUTPUT-tuned/checkpoint gets it.")
    ] = 0,
    learning_rate: Annotated[float, typer.Option(help="Of fine-tuning, its peak.")] = 1e-4,
    batch_size: Annotated[int, typer.Option(min=1, help="Of fine-tuning.")] = 8,
    bf16: Annotated[
        bool, typer.Option("--bf16", help="Fine-tune under autocast; the mel stays float32.")
    ] = False,
    accelerator: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    cache: Annotated[
        Path | None, typer.Option(help="Folder of computed features; ~/.cache/muqrt.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Train a head that answers a task by a MuQ's hidden states."""
    require_extra()
    from ...common.files import cache_folder
    from ...reference.checkpoint import load_checkpoint
    from ...reference.head import save_head
    from ...training.data.manifest import read_recordings
    from ...training.loop.devices import Hardware, launched
    from ...training.loop.plan import TrainingPlan
    from ...training.probe.tasks import find_task
    from ...training.probe.train import Probe

    wanted = Probe(find_task(task), _levels(levels), hidden, seed)
    _check_output(output)
    recordings = read_recordings(manifest)
    plan = TrainingPlan(
        steps=max(1, fine_tune_steps),
        batch_size=batch_size,
        crop_seconds=wanted.task.window_seconds,
        learning_rate=learning_rate,
        warmup_steps=fine_tune_steps // 10,
        seed=seed,
        precision="bf16-mixed" if bf16 else "32-true",
    )
    fabric = launched(plan, Hardware(accelerator))
    loaded = load_checkpoint(checkpoint)
    trained = _trained(loaded, recordings, wanted, cache_folder(cache), fabric)
    tuned = None
    if fine_tune_steps:
        tuned = _tuned(loaded, trained, recordings, wanted, plan, output, fabric)
        loaded = load_checkpoint(tuned)
        trained = _trained(loaded, recordings, wanted, cache_folder(cache), fabric)
    save_head(trained.head, output)
    _show(trained, output, tuned, as_json)


def _trained(
    checkpoint: "Checkpoint",
    recordings: "list[Recording]",
    wanted: "Probe",
    cache: Path,
    fabric: "Fabric",
) -> "Trained":
    from ...training.probe.train import train_probe

    total = sum(wanted.task.takes(each) and each.split is not None for each in recordings)
    with progress("Encoding", total) as bar:
        return train_probe(
            checkpoint,
            recordings,
            wanted,
            cache,
            fabric.device,
            lambda path: bar.advance(path.name),
        )


def _tuned(
    checkpoint: "Checkpoint",
    trained: "Trained",
    recordings: "list[Recording]",
    wanted: "Probe",
    plan: "TrainingPlan",
    output: Path,
    fabric: "Fabric",
) -> Path:
    """Fine-tune, in a run's folder beside the head; the tuned checkpoint's folder."""
    from ...reference.checkpoint import save_checkpoint
    from ...training.loop.run import Run
    from ...training.pretrain.pipeline import CHECKPOINT_FOLDER
    from ...training.probe.fine_tune import fine_tune
    from ...training.probe.splits import splits_of

    settings = {
        "what": f"fine-tune for {wanted.task.name}",
        "checkpoint": checkpoint.sha256,
        "head": dataclasses.asdict(trained.head.config),
        **dataclasses.asdict(plan),
    }
    run = Run(output.with_name(f"{output.name}-tuned"), settings)
    training = splits_of(recordings, wanted.task)["train"]
    fine_tune(checkpoint.model, trained.head, training, wanted.task, plan, run, fabric)
    save_checkpoint(checkpoint.model.cpu(), run.folder / CHECKPOINT_FOLDER)
    return run.folder / CHECKPOINT_FOLDER


def _show(trained: "Trained", output: Path, tuned: Path | None, as_json: bool) -> None:
    config = trained.head.config
    facts = {
        "head": str(output),
        "checkpoint": None if tuned is None else str(tuned),
        "config": dataclasses.asdict(config),
        "tracks": trained.tracks,
        "skipped": [{"audio": str(s.path), "reason": s.reason} for s in trained.skipped],
    }
    measured = ", ".join(f"{name} {value:.3f}" for name, value in config.figures["test"].items())
    show(
        as_json,
        facts,
        f"{config.task}: {len(config.labels)} labels, "
        + ", ".join(f"{count} {split}" for split, count in trained.tracks.items())
        + f" recordings. Test, single windows: {measured}.",
        f"Left out, whole or in part: {len(trained.skipped)}." if trained.skipped else "",
        *(f"  {each.path}: {each.reason}" for each in trained.skipped),
        "" if tuned is None else f"Wrote {tuned}: the tuned checkpoint, which the head is for.",
        f"Wrote {output}",
    )


def _levels(text: str) -> list[int] | None:
    if text == "all":
        return None
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise UsageError(f"levels {text!r}: write all, or numbers as 3,4,5.") from None


def _check_output(folder: Path) -> None:
    """A head's folder is replaced whole, so nothing else may be in it."""
    files = {"head.json", "head.safetensors"}
    if folder.exists() and (
        not folder.is_dir() or {each.name for each in folder.iterdir()} - files
    ):
        raise UsageError(f"{folder}: holds something else than a head; choose another folder.")
