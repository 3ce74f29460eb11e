"""``muqrt build``: other artefacts of a bundle, each proven like the first."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_type_hints

import typer

from ...common.console import Json, progress, show
from ...errors import UsageError
from ...export.recipes import (
    ENGINES,
    IN_ORT_FORMAT,
    RECIPES,
    REFUSED,
    BuildOptions,
    Choice,
    Tower,
    precisions,
)
from ..options import OwnBundle
from ..parameters import expand_options
from .options import (
    ProofOptions,
    Verbose,
    prepare,
    proof_of,
    refuse_shipped,
    require_no_proof_options,
)
from .part_seconds import PartSeconds, seconds_table

if TYPE_CHECKING:
    from ...runtime.bundle.manifest import Artefact, Bundle

commands = typer.Typer()

_WITH_ACCURACY = [
    name for (engine, name), choice in RECIPES["audio"].items() if choice.takes_accuracy
]
_BY_ENGINE = "; ".join(f"{engine}: {', '.join(precisions(engine))}" for engine in ENGINES)


def _tensorrt_option(*names: str, help: str) -> Any:
    return typer.Option(*names, help=help, rich_help_panel="TensorRT")


# Those of TensorRT's options that TensorRT for RTX has, too; and its own.
_OF_BOTH, _OF_RTX = {"window_seconds", "batch"}, {"targets"}
_WITH_A_WINDOW = ("litert", "coreml")  # engines whose files take windows of one length


@dataclass(frozen=True)
class TensorRtFlags:
    """What ``engine_options`` and ``rtx_options`` take; None where an option was not given."""

    window_seconds: Annotated[
        str | None,
        _tensorrt_option(
            help="Shortest, typical and longest waveform, for example 5,10,30, or one number; "
            "0.043,10,30 by default. litert, coreml: one number, the model's window by default."
        ),
    ] = None
    batch: Annotated[
        str | None,
        _tensorrt_option(
            help="Smallest, typical and largest batch, or one number; 1,8,32 by default."
        ),
    ] = None
    targets: Annotated[
        str | None,
        _tensorrt_option(
            help="tensorrt-rtx: the kinds of GPU, among sm75 alone, sm80, sm86, sm89, sm120 and "
            "sm121; sm86,sm89,sm120 by default."
        ),
    ] = None
    fused_kernels: Annotated[
        bool | None,
        _tensorrt_option(
            "--plugins/--no-plugins",
            help="Use muqrt's kernels for the mel and the tokens, or TensorRT's own.",
        ),
    ] = None
    hardware_compatibility: Annotated[
        Literal["none", "ampere_plus", "same_compute_capability"] | None,
        _tensorrt_option(help="Other GPUs to support."),
    ] = None
    version_compatible: Annotated[
        bool | None,
        _tensorrt_option(
            "--version-compatible", help="Build an engine that later TensorRT versions can run."
        ),
    ] = None
    refit: Annotated[
        bool | None,
        _tensorrt_option("--refit", help="Build an engine whose weights can be replaced later."),
    ] = None
    stripped: Annotated[
        bool | None,
        _tensorrt_option(
            "--strip", help="Write a plan without weights; loading takes them from the ONNX graph."
        ),
    ] = None
    weight_streaming: Annotated[
        bool | None,
        _tensorrt_option(
            "--weight-streaming", help="Allow weights to stay in host memory while the engine runs."
        ),
    ] = None
    timing_cache: Annotated[
        Path | None,
        _tensorrt_option(
            help="File of layer timings to read and update; makes the next build shorter."
        ),
    ] = None
    inspect: Annotated[
        bool | None,
        _tensorrt_option(
            "--inspect", help="Write TensorRT's description of every layer as JSON beside the plan."
        ),
    ] = None


@commands.command()
@expand_options
def build(
    bundle: OwnBundle,
    checkpoint: Annotated[
        str | None,
        typer.Option(
            help="The checkpoint the bundle was made from; tensorrt-rtx and --format ort need none."
        ),
    ] = None,
    *,
    precision: Annotated[
        str | None,
        typer.Option(
            autocompletion=lambda: list(dict.fromkeys(name for _, name in RECIPES["audio"])),
            metavar="PRECISION",
            help=f"Each engine's default first: {_BY_ENGINE}. On CPUs int8 is the fastest; "
            "int8-mixed may be faster without VNNI; int8-qdq and fp8 are for GPUs; -weights "
            "keeps activations wide.",
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
    format: Annotated[
        Literal["onnx", "ort"],
        typer.Option(
            help="onnxruntime: ort writes its own format, one file, from the bundle's fp32 or int8."
        ),
    ] = "onnx",
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
            "(the default) to below 1. A higher value keeps more of the model in wider precision.",
        ),
    ] = None,
    tensorrt: TensorRtFlags,
    proof_options: ProofOptions,
    verbose: Verbose = False,
    as_json: Json = False,
) -> None:
    """Add an artefact for another engine or precision.

    It is measured against PyTorch and gets a certificate of its own.
    """
    prepare()
    if engine not in ENGINES:
        raise UsageError(f"--engine {engine}: choose among {', '.join(ENGINES)}.")
    name, choice = _choice(engine, precision, tower, format)
    if accuracy is not None and not choice.takes_accuracy:
        raise UsageError(f"--accuracy is for --precision {', '.join(_WITH_ACCURACY)}, not {name}.")
    given = _engine_options(engine, tensorrt)
    if checkpoint is None:
        if choice.needs_checkpoint:
            raise UsageError(
                f"--checkpoint is needed for --engine {engine}: name what the bundle was made from."
            )
        require_no_proof_options(proof_options)
    from ...export.bundle.recipe import add
    from ...export.parity.proof import Proof
    from ...runtime.bundle.manifest import load_bundle
    from .report import parity_tables

    refuse_shipped(bundle)
    loaded = load_bundle(bundle)
    if format == "ort" and checkpoint is None and loaded.answers is None:
        raise UsageError(
            f"{bundle}: holds no answers to compare with; give --checkpoint, or export it again."
        )
    with progress(f"Building {engine} {name}", None) as bar:
        timer = PartSeconds(bar.advance)
        if checkpoint is None:
            proof = Proof(None, on_step=timer)
        else:
            proof = proof_of(loaded, checkpoint, proof_options, timer)
        timer("loading")
        recipe = choice.recipe(loaded, BuildOptions(proof_options.music or [], accuracy, given))
        artefact = add(loaded, recipe, proof)
    is_usable = artefact.certified and artefact.engine != "coreml"
    size, seconds = loaded.size_bytes(artefact), timer.finish()
    show(
        as_json,
        {**artefact.model_dump(), "seconds": seconds},
        *parity_tables([artefact], verbose),
        *([seconds_table(seconds)] if verbose else []),
        *_remarks(loaded, artefact),
        f"Added {artefact.name} to {bundle}: {size / 1e6:.1f} MB."
        + (f" Choose it with --artefact {artefact.name}." if is_usable else ""),
    )


def _choice(engine: str, precision: str | None, tower: Tower, format: str) -> tuple[str, Choice]:
    """What is to be built, and what its precision is called.

    Raises:
        UsageError: there is no such thing.
    """
    if format == "ort":
        name = precision or "fp32"
        if (engine, name) not in IN_ORT_FORMAT or tower != "audio":
            raise UsageError("--format ort goes with --engine onnxruntime, in fp32 or int8.")
        return name, IN_ORT_FORMAT[engine, name]
    name = precision or precisions(engine)[0]
    if (engine, name) in REFUSED:
        raise UsageError(f"--precision {name} --engine {engine}: {REFUSED[engine, name]}")
    if name not in precisions(engine):
        raise UsageError(
            f"--precision {name} --engine {engine}: {engine} is built in "
            f"{', '.join(precisions(engine))}."
            + (" Its fp32 is what muqrt export wrote." if engine == "onnxruntime" else "")
        )
    if (engine, name) not in RECIPES[tower]:
        raise UsageError("--tower text goes with --engine onnxruntime --precision int8.")
    return name, RECIPES[tower][engine, name]


def _engine_options(engine: str, flags: TensorRtFlags) -> dict[str, Any]:
    """The options given for an engine of TensorRT or TensorRT for RTX, by name.

    Raises:
        UsageError: one that the engine does not have.
    """
    given = {name: value for name, value in vars(flags).items() if value is not None}
    if engine == "tensorrt" and given.keys() & _OF_RTX:
        raise UsageError("--targets goes with --engine tensorrt-rtx, not with tensorrt.")
    if engine == "tensorrt-rtx" and (others := given.keys() - _OF_BOTH - _OF_RTX):
        raise UsageError(
            f"{', '.join(sorted(map(_flag, others)))}: options of TensorRT that TensorRT for RTX "
            "does not have."
        )
    if engine in _WITH_A_WINDOW:
        if others := given.keys() - {"window_seconds"}:
            raise UsageError(
                f"{', '.join(sorted(map(_flag, others)))}: options of TensorRT that {engine} does "
                "not have."
            )
    elif engine not in ("tensorrt", "tensorrt-rtx") and given:
        raise UsageError(f"options of TensorRT go with --engine tensorrt, not with {engine}.")
    return given


def _flag(name: str) -> str:
    """What a field of ``TensorRtFlags`` is called on the command line."""
    (option,) = get_type_hints(TensorRtFlags, include_extras=True)[name].__metadata__
    # In an annotation Typer takes the first name for the default until the command is made.
    names = [each for each in (option.default, *(option.param_decls or ())) if each is not ...]
    return str(names[0]).partition("/")[0] if names else f"--{name.replace('_', '-')}"


def _remarks(bundle: "Bundle", artefact: "Artefact") -> list[str]:
    """Lines for the terminal beside the parity tables."""
    found = []
    if artefact.quantization is not None:
        found.append(artefact.quantization.summary())
    if artefact.mixed_precision is not None:
        found.append(artefact.mixed_precision.summary())
    if artefact.plan is not None:
        found.append(artefact.plan.summary())
    if artefact.certificate is None:
        from ...runtime.parity.here import unproven

        found.append(unproven(bundle, artefact))
    return found
