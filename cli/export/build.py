"""``muqrt build``: other artefacts of a bundle, each proven like the first."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from ...common.console import Json, progress, show
from ...errors import UsageError
from ...export.recipes import ENGINES, RECIPES, BuildOptions, precisions
from . import engine_options as engine_arguments
from .options import Head, Music, Rvq, proof_of, require_torch

if TYPE_CHECKING:
    from ...runtime.bundle.manifest import Artefact, Bundle

commands = typer.Typer()

_WITH_ACCURACY = [
    name for (engine, name), choice in RECIPES["audio"].items() if choice.takes_accuracy
]
_BY_ENGINE = "; ".join(f"{engine}: {', '.join(precisions(engine))}" for engine in ENGINES)


@commands.command()
def build(
    bundle: Annotated[Path, typer.Argument(help="Folder that muqrt export wrote.")],
    checkpoint: Annotated[str, typer.Option(help="The checkpoint the bundle was made from.")],
    precision: Annotated[
        str | None,
        typer.Option(
            autocompletion=lambda: list(dict.fromkeys(name for _, name in RECIPES["audio"])),
            metavar="PRECISION",
            help=f"Each engine's default first: {_BY_ENGINE}. On CPUs int8 is the fastest; "
            "int8-qdq and fp8 are for GPUs; -weights keeps activations wide.",
        ),
    ] = None,
    engine: Annotated[
        str,
        typer.Option(
            autocompletion=lambda: list(ENGINES),
            metavar=f"[{'|'.join(ENGINES)}]",
            help="Engine to build for.",
        ),
    ] = ENGINES[0],
    tower: Annotated[
        Literal["audio", "text"],
        typer.Option(
            help="Which MuQ-MuLan tower to build: audio, or text (onnxruntime int8 only)."
        ),
    ] = "audio",
    accuracy: Annotated[
        float | None,
        typer.Option(
            help=f"{', '.join(_WITH_ACCURACY)}: worst frame cosine to reach, from the gate's 0.99 "
            "(the default) to below 1. The higher, the more of the model stays wider.",
        ),
    ] = None,
    window_seconds: engine_arguments.WindowSeconds = None,
    batch: engine_arguments.Batch = None,
    plugins: engine_arguments.Plugins = None,
    hardware_compatibility: engine_arguments.HardwareCompatibility = None,
    version_compatible: engine_arguments.VersionCompatible = False,
    refit: engine_arguments.Refit = False,
    strip: engine_arguments.Strip = False,
    weight_streaming: engine_arguments.WeightStreaming = False,
    timing_cache: engine_arguments.TimingCache = None,
    inspect: engine_arguments.Inspect = False,
    music: Music = None,
    head: Head = None,
    rvq: Rvq = None,
    as_json: Json = False,
) -> None:
    """Add an artefact for another engine or precision.

    It is measured against PyTorch and gets a certificate of its own.
    """
    require_torch()
    if engine not in ENGINES:
        raise UsageError(f"--engine {engine}: choose among {', '.join(ENGINES)}.")
    name = precision or precisions(engine)[0]
    if name not in precisions(engine):
        raise UsageError(
            f"--precision {name} --engine {engine}: {engine} is built in "
            f"{', '.join(precisions(engine))}."
            + (" Its fp32 is what muqrt export wrote." if engine == "onnxruntime" else "")
        )
    choice = RECIPES[tower].get((engine, name))
    if choice is None:
        raise UsageError("--tower text goes with --engine onnxruntime --precision int8.")
    if accuracy is not None and not choice.takes_accuracy:
        raise UsageError(f"--accuracy is for --precision {', '.join(_WITH_ACCURACY)}, not {name}.")
    given = {
        "window_seconds": window_seconds,
        "batch": batch,
        "fused_kernels": plugins,
        "hardware_compatibility": hardware_compatibility,
        "version_compatible": version_compatible or None,
        "refit": refit or None,
        "stripped": strip or None,
        "weight_streaming": weight_streaming or None,
        "timing_cache": timing_cache,
        "inspect": inspect or None,
    }
    if engine != "tensorrt" and any(value is not None for value in given.values()):
        raise UsageError(f"options of TensorRT go with --engine tensorrt, not with {engine}.")
    from ...export.bundle.recipe import add
    from ...runtime.bundle.manifest import load_bundle
    from .report import parity_tables

    loaded = load_bundle(bundle)
    with progress(f"Building {engine} {name}", None) as bar:
        proof = proof_of(loaded, checkpoint, music, head, rvq, bar.advance)
        recipe = choice.recipe(loaded, BuildOptions(music or [], accuracy, given))
        artefact = add(loaded, recipe, proof)
    size = loaded.size_bytes(artefact)
    show(
        as_json,
        artefact.model_dump(),
        *parity_tables([artefact]),
        *_remarks(loaded, artefact),
        f"Added {artefact.name} to {bundle}: {size / 1e6:.1f} MB."
        + (f" Choose it with --artefact {artefact.name}." if artefact.certified else ""),
    )


def _remarks(bundle: "Bundle", artefact: "Artefact") -> list[str]:
    """Lines for the terminal beside the parity tables."""
    found = []
    if artefact.quantization is not None:
        found.append(artefact.quantization.summary())
    if artefact.mixed_precision is not None:
        found.append(artefact.mixed_precision.summary())
    if artefact.plan is not None:
        found.append(f"For {artefact.plan.gpu}: {artefact.plan.options}.")
    if artefact.certificate is None:
        from ...export.parity.gate import unproven

        found.append(unproven(bundle, artefact))
    return found
