"""``muqrt build``: other artefacts of a bundle, each proven like the first."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from ..console import Json, progress, show
from ..errors import UsageError
from .options import Head, Music, Rvq, proof_of, require_torch
from .parity_report import parity_tables

commands = typer.Typer()


@commands.command()
def build(
    bundle: Annotated[Path, typer.Argument(help="Folder that muqrt export wrote.")],
    checkpoint: Annotated[str, typer.Option(help="The checkpoint the bundle was made from.")],
    precision: Annotated[
        Literal["int8", "int8-weights", "int4-weights", "fp32", "bf16"],
        typer.Option(
            help="onnxruntime: int8, the fastest, or the weights alone in 8 or 4 bits, smaller and "
            "nearer to float32; openvino: fp32 or bf16."
        ),
    ] = "int8",
    engine: Annotated[
        Literal["onnxruntime", "openvino"], typer.Option(help="What is to run it.")
    ] = "onnxruntime",
    accuracy: Annotated[
        float | None,
        typer.Option(
            help="int8: the worst frame cosine to reach, 0.99 to below 1; more of the model "
            "stays float32 for it. The gate's 0.99 by default.",
        ),
    ] = None,
    music: Music = None,
    head: Head = None,
    rvq: Rvq = None,
    as_json: Json = False,
) -> None:
    """Add an artefact to a bundle: another precision or engine, with a certificate of its own."""
    require_torch()
    if precision.startswith("int") != (engine == "onnxruntime"):
        raise UsageError(
            f"--precision {precision} --engine {engine}: onnxruntime is built in int8 or with int8 "
            "or int4 weights (its fp32 is what muqrt export wrote), openvino in fp32 or bf16."
        )
    if accuracy is not None and precision != "int8":
        raise UsageError(f"--accuracy is for --precision int8, not {precision}.")
    from ..reference.checkpoint import load_checkpoint
    from ..runtime.bundle import load_bundle
    from .parity import excerpts

    loaded = load_bundle(bundle)
    reference = load_checkpoint(checkpoint)
    tag_head, token_rvq = proof_of(loaded, checkpoint, reference, head, rvq)
    chosen = excerpts(music or [])
    with progress(f"Building {precision}", None) as bar:
        if precision == "int8":
            from .int8.artefact import add_int8
            from .int8.calibration import calibration_music

            calibration = calibration_music(music or [])
            artefact = add_int8(
                loaded, reference, calibration, chosen, accuracy, tag_head, token_rvq, bar.advance
            )
        elif engine == "onnxruntime":
            from .weight_only import add_weight_only

            artefact = add_weight_only(
                loaded, reference, chosen, precision, tag_head, token_rvq, bar.advance
            )
        else:
            from .openvino_artefact import add_openvino

            artefact = add_openvino(
                loaded, reference, chosen, precision, bar.advance, tag_head, token_rvq
            )
    size = loaded.size_bytes(artefact)
    show(
        as_json,
        artefact.model_dump(),
        *parity_tables([artefact], loaded.tokenizer is not None),
        artefact.quantization.summary() if artefact.quantization is not None else "",
        f"Added {artefact.name} to {bundle}: {size / 1e6:.1f} MB. "
        f"Choose it with --artefact {artefact.name}.",
    )
