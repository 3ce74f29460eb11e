"""``muqrt info``."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..common.console import Json, Table, show

if TYPE_CHECKING:
    from ..runtime.bundle.manifest import Bundle
    from ..runtime.bundle.tagging import Tagging
    from ..runtime.bundle.tokens import Tokenizer

commands = typer.Typer()

_TAGS_SHOWN = 12


@commands.command()
def info(
    bundle: Annotated[Path, typer.Argument(help="Bundle folder, written by muqrt export.")],
    as_json: Json = False,
) -> None:
    """Show what is in a bundle, and check every hash."""
    from ..runtime.bundle.manifest import load_bundle

    loaded = load_bundle(bundle)
    for artefact in loaded.artefacts:
        loaded.verify(artefact)
    rows = [
        [
            artefact.name,
            artefact.engine,
            artefact.precision,
            artefact.level,
            ", ".join(spec.name for spec in artefact.outputs),
            f"{loaded.size_bytes(artefact) / 1e6:.1f}",
            "yes" if artefact.certified else "NO",
        ]
        for artefact in loaded.artefacts
    ]
    columns = ["artefact", "engine", "precision", "level", "outputs", "MB", "certified"]
    window = loaded.framing.window_samples / loaded.framing.sample_rate_hz
    show(
        as_json,
        loaded.model_dump(),
        f"{loaded.source.checkpoint}: {loaded.source.parameters / 1e6:.1f}M parameters, "
        f"{loaded.framing.steps_per_second:g} features a second, windows of {window:g} s",
        Table(str(bundle), columns, rows),
        *(
            f"{artefact.name}: {artefact.quantization.summary()}"
            for artefact in loaded.artefacts
            if artefact.quantization is not None
        ),
        *(_tagging_lines(loaded.tagging) if loaded.tagging is not None else ()),
        _tokenizer_line(loaded.tokenizer) if loaded.tokenizer is not None else "",
        _joint_line(loaded) if loaded.joint is not None else "",
    )


def _joint_line(bundle: "Bundle") -> str:
    joint = bundle.joint
    assert joint is not None
    seconds = joint.clip_samples / bundle.framing.sample_rate_hz
    return (
        f"latents: {joint.width} wide, for clips of {seconds:g} s and texts of up to "
        f"{joint.max_tokens} tokens, tokenizer {joint.tokenizer_sha256[:12]}..."
    )


def _tagging_lines(tagging: "Tagging") -> list[str]:
    names = ", ".join(tagging.vocabulary[:_TAGS_SHOWN])
    more = len(tagging.vocabulary) - _TAGS_SHOWN
    thresholds = sorted({f"{each:.2f}" for each in tagging.thresholds})
    lines = [
        f"{len(tagging.vocabulary)} tags: {names}{f' and {more} more' if more > 0 else ''}",
        f"task {tagging.task}, windows of {tagging.window_seconds:g} s, "
        f"thresholds {' to '.join(dict.fromkeys((thresholds[0], thresholds[-1])))}, "
        f"head {tagging.head_sha256[:12]}...",
    ]
    numbers = {k: v for k, v in tagging.figures.items() if isinstance(v, (int, float))}
    if numbers:
        figures = ", ".join(f"{name} {value:.4g}" for name, value in numbers.items())
        lines.append(f"measured in training: {figures}")
    return lines


def _tokenizer_line(tokenizer: "Tokenizer") -> str:
    what = "the log-mel" if tokenizer.level is None else f"level {tokenizer.level}"
    return (
        f"tokens: {tokenizer.stages} per step, {tokenizer.codes} codes each, by an RVQ of {what}, "
        f"{tokenizer.rvq_sha256[:12]}..."
    )
