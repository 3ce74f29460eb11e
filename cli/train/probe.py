"""``muqrt train probe``."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from annotated_types import Ge

from ...common.console import progress, show
from ...common.environment import import_extra
from ...errors import UsageError
from ..parameters import configured
from .options import Accelerator, Bf16, Seed, precision

if TYPE_CHECKING:
    from lightning_fabric import Fabric

    from ...reference.checkpoint import Checkpoint
    from ...training.data.manifest import Recording
    from ...training.loop.plan import TrainingPlan
    from ...training.probe.train import Probe, Trained

commands = typer.Typer()


@dataclass(frozen=True, kw_only=True)
class ProbeOptions:
    """Options of ``muqrt train probe``."""

    checkpoint: Annotated[
        str,
        typer.Argument(help="Folder, .pt file or hub id, such as OpenMuQ/MuQ-large-msd-iter."),
    ]
    manifest: Annotated[
        Path, typer.Argument(help="JSONL manifest with labels and splits, or a folder with one.")
    ]
    task: Annotated[str, typer.Option(help="What the head answers: tagging, genre, key, ...")]
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Folder of the head, for muqrt export.")
    ]
    levels: Annotated[
        str, typer.Option(help="Hidden states to mix, comma-separated; 0 is the front end's.")
    ] = "all"
    hidden: Annotated[
        int, Ge(0), typer.Option(help="Neurons of the hidden layer; 0: a linear head.")
    ] = 0
    seed: Seed = 0
    fine_tune_steps: Annotated[
        int,
        Ge(0),
        typer.Option(help="Train MuQ too for this many steps, into OUTPUT-tuned/checkpoint."),
    ] = 0
    learning_rate: Annotated[float, typer.Option(help="Peak learning rate of fine-tuning.")] = 1e-4
    batch_size: Annotated[int, Ge(1), typer.Option(help="Crops in a step of fine-tuning.")] = 8
    bf16: Bf16 = False
    accelerator: Accelerator = "auto"
    calibration: Annotated[
        Path | None,
        typer.Option(
            help="For tagging: manifest of real music. Tags it does not bear out are left out."
        ),
    ] = None
    cache: Annotated[
        Path | None, typer.Option(help="Folder of computed features; ~/.cache/muqrt by default.")
    ] = None

    def plan(self, crop_seconds: float) -> "TrainingPlan":
        """How MuQ is fine-tuned."""
        from ...training.loop.plan import TrainingPlan

        return TrainingPlan(
            steps=max(1, self.fine_tune_steps),
            batch_size=self.batch_size,
            crop_seconds=crop_seconds,
            learning_rate=self.learning_rate,
            warmup_steps=self.fine_tune_steps // 10,
            seed=self.seed,
            precision=precision(self.bf16),
        )


@commands.command()
@configured(ProbeOptions)
def probe(options: ProbeOptions, as_json: bool) -> None:
    """Train a head for a task on MuQ's hidden states."""
    import_extra("train", "lightning_fabric", "torch")
    from ...common.files import cache_folder
    from ...reference.checkpoint import load_checkpoint
    from ...reference.head import save_head
    from ...training.data.manifest import read_recordings
    from ...training.loop.devices import Hardware, launched
    from ...training.probe.tasks import find_task
    from ...training.probe.train import Probe

    wanted = Probe(find_task(options.task), _levels(options.levels), options.hidden, options.seed)
    output, cache = options.output, cache_folder(options.cache)
    _check_output(output)
    recordings = read_recordings(options.manifest)
    calibration: list[Recording] = []
    if options.calibration is not None:
        if wanted.task.kind != "multilabel":
            raise UsageError(f"--calibration is for tagging, not for {options.task}.")
        calibration = read_recordings(options.calibration)
    plan = options.plan(wanted.task.window_seconds)
    fabric = launched(plan, Hardware(options.accelerator))
    loaded = load_checkpoint(options.checkpoint)
    trained = _trained(loaded, recordings, wanted, cache, fabric, calibration)
    tuned = None
    if options.fine_tune_steps:
        tuned = _tuned(loaded, trained, recordings, wanted, plan, output, fabric)
        loaded = load_checkpoint(tuned)
        trained = _trained(loaded, recordings, wanted, cache, fabric, calibration)
    save_head(trained.head, output)
    _show(trained, output, tuned, as_json)


def _trained(
    checkpoint: "Checkpoint",
    recordings: "list[Recording]",
    wanted: "Probe",
    cache: Path,
    fabric: "Fabric",
    calibration: "list[Recording]",
) -> "Trained":
    from ...training.probe.train import train_probe

    total = sum(wanted.task.takes(each) and each.split is not None for each in recordings)
    total += sum(each.split != "test" for each in calibration)
    with progress("Encoding", total) as bar:
        return train_probe(
            checkpoint,
            recordings,
            wanted,
            cache,
            fabric.device,
            lambda path: bar.advance(path.name),
            calibration,
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
    from ...training.probe.tasks import splits_of

    settings = {
        "what": f"fine-tune for {wanted.task.name}",
        "checkpoint": checkpoint.sha256,
        "head": dataclasses.asdict(trained.head.config),
        **plan.settings(),
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
        raise UsageError(f"levels {text!r}: write all, or numbers such as 3,4,5.") from None


def _check_output(folder: Path) -> None:
    """A head's folder is replaced whole, so nothing else may be in it."""
    files = {"head.json", "head.safetensors"}
    if folder.exists() and (
        not folder.is_dir() or {each.name for each in folder.iterdir()} - files
    ):
        raise UsageError(f"{folder}: holds something other than a head; choose another folder.")
