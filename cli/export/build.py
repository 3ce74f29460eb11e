"""``muqrt build``: other artefacts of a bundle, each proven like the first."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from ...common.console import Json, progress, show
from ...errors import UsageError
from . import engine_options as engine_arguments
from .options import Head, Music, Rvq, proof_of, require_torch
from .report import parity_tables

if TYPE_CHECKING:
    from ...export.parity.excerpts import Excerpt
    from ...export.sources.head import TagHead
    from ...export.sources.rvq import TokenRvq
    from ...reference.checkpoint import Checkpoint
    from ...runtime.bundle.certificate import Precision as Certified
    from ...runtime.bundle.manifest import Artefact, Bundle

commands = typer.Typer()

Precision = Literal[
    "fp32", "fp16", "bf16", "int8", "int8-qdq", "fp8", "int8-weights", "int4-weights"
]
# What each engine can be built in, its default first. fp32 for ONNX Runtime is muqrt export's.
_PRECISIONS: dict[str, tuple[Precision, ...]] = {
    "onnxruntime": ("int8", "fp16", "bf16", "int8-qdq", "fp8", "int8-weights", "int4-weights"),
    "openvino": ("bf16", "fp32"),
    "torch": ("bf16", "fp16", "fp32"),
    "tensorrt": ("fp16", "bf16", "int8", "fp8", "fp32"),
}

_QDQ = [("onnxruntime", "int8-qdq"), ("onnxruntime", "fp8")]


@dataclass(frozen=True)
class _Order:
    """What is to be added to which bundle, and what it is compared with."""

    bundle: "Bundle"
    checkpoint: "Checkpoint"
    music: "Sequence[Excerpt]"
    precision: "Certified"
    qdq: bool
    head: "TagHead | None"
    rvq: "TokenRvq | None"
    on_step: Callable[[str], None]

    def on_excerpt(self, excerpt: "Excerpt") -> None:
        """A step of the parity measurement."""
        self.on_step(f"parity: {excerpt.name}")


@commands.command()
def build(
    bundle: Annotated[Path, typer.Argument(help="Folder that muqrt export wrote.")],
    checkpoint: Annotated[str, typer.Option(help="The checkpoint the bundle was made from.")],
    precision: Annotated[
        Precision | None,
        typer.Option(
            help="onnxruntime: int8, the fastest on CPUs, by default; fp16, bf16, "
            "int8-qdq or fp8, for GPUs; or the weights alone in 8 or 4 bits. openvino: bf16 or "
            "fp32. torch: bf16, fp16 or fp32. tensorrt: fp16, bf16, int8, fp8 or fp32."
        ),
    ] = None,
    engine: Annotated[
        Literal["onnxruntime", "openvino", "torch", "tensorrt"],
        typer.Option(help="What is to run it."),
    ] = "onnxruntime",
    tower: Annotated[
        Literal["audio", "text"],
        typer.Option(help="Of a MuQ-MuLan: what hears, or the text tower (onnxruntime int8)."),
    ] = "audio",
    accuracy: Annotated[
        float | None,
        typer.Option(
            help="int8, int8-qdq, fp8: the worst frame cosine to reach, 0.99 to below 1; more of "
            "the model stays wider for it. The gate's 0.99 by default.",
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
    chosen = precision or _PRECISIONS[engine][0]
    if chosen not in _PRECISIONS[engine]:
        raise UsageError(
            f"--precision {chosen} --engine {engine}: {engine} is built in "
            f"{', '.join(_PRECISIONS[engine])}."
            + (" Its fp32 is what muqrt export wrote." if engine == "onnxruntime" else "")
        )
    if tower == "text" and (engine, chosen) != ("onnxruntime", "int8"):
        raise UsageError("--tower text goes with --engine onnxruntime --precision int8.")
    if accuracy is not None and (engine, chosen) not in [*_QDQ, ("onnxruntime", "int8")]:
        raise UsageError(f"--accuracy is for --precision int8, int8-qdq or fp8, not {chosen}.")
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
    from ...export.parity.excerpts import excerpts
    from ...export.sources.checkpoint import load_source
    from ...runtime.bundle.manifest import load_bundle

    loaded = load_bundle(bundle)
    reference = load_source(checkpoint)
    proof = proof_of(loaded, checkpoint, reference, head, rvq)
    with progress(f"Building {engine} {chosen}", None) as bar:
        certified: Certified = "int8" if chosen == "int8-qdq" else chosen
        qdq = (engine, chosen) in _QDQ
        heard = excerpts(music or [])
        order = _Order(loaded, reference, heard, certified, qdq, *proof, bar.advance)
        if tower == "text":
            from ...export.text_artefact import add_text_tower

            artefact = add_text_tower(loaded, reference, order.music, certified, bar.advance)
        else:
            artefact = _added(engine, order, music or [], accuracy, given)
    size = loaded.size_bytes(artefact)
    show(
        as_json,
        artefact.model_dump(),
        *parity_tables([artefact]),
        *_remarks(loaded, artefact),
        f"Added {artefact.name} to {bundle}: {size / 1e6:.1f} MB."
        + (f" Choose it with --artefact {artefact.name}." if artefact.certified else ""),
    )


def _added(
    engine: str,
    order: _Order,
    music: list[Path],
    accuracy: float | None,
    engine_given: dict[str, Any],
) -> "Artefact":
    start = order.bundle, order.checkpoint
    proof = order.head, order.rvq
    if engine == "openvino":
        from ...export.engines.openvino import add_openvino

        return add_openvino(*start, order.music, order.precision, order.on_excerpt, *proof)
    if engine == "torch":
        from ...export.engines.pytorch import add_torch

        return add_torch(*start, order.music, order.precision, order.on_excerpt, *proof)
    if engine == "tensorrt":
        from ...export.engines.tensorrt.artefact import add_tensorrt, tensorrt_source
        from ...runtime.bundle.engine_options import engine_options

        source = tensorrt_source(order.bundle, order.precision)
        options = engine_options(**engine_given)
        return add_tensorrt(*start, order.music, source, options, *proof, order.on_step)
    if order.qdq or order.precision == "int8":
        from ...export.quantize.int8.artefact import add_int8
        from ...export.quantize.int8.calibration import calibration_music
        from ...export.quantize.qdq.artefact import add_qdq

        measured = calibration_music(music), order.music
        if order.qdq:
            return add_qdq(*start, *measured, order.precision, accuracy, *proof, order.on_step)
        return add_int8(*start, *measured, accuracy, *proof, order.on_step)
    if order.precision in ("fp16", "bf16"):
        from ...export.quantize.half.artefact import add_half

        return add_half(*start, order.music, order.precision, *proof, order.on_step)
    from ...export.quantize.weight_only import add_weight_only

    return add_weight_only(*start, order.music, order.precision, *proof, order.on_step)


def _remarks(bundle: "Bundle", artefact: "Artefact") -> list[str]:
    """What the tables of its parity do not say."""
    found = []
    if artefact.quantization is not None:
        found.append(artefact.quantization.summary())
    if artefact.mixed_precision is not None:
        found.append(artefact.mixed_precision.summary())
    if artefact.plan is not None:
        found.append(f"For {artefact.plan.gpu}: {artefact.plan.options}.")
    if artefact.certificate is None:
        from ...export.quantize.half.artefact import unproven

        found.append(unproven(bundle, artefact))
    return found
