"""The recipes of ``muqrt build``, by engine and precision."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from ..runtime.bundle.certificate import Precision
    from ..runtime.bundle.manifest import Bundle
    from .bundle.recipe import Recipe

    Make = Callable[[Precision, Bundle, "BuildOptions"], Recipe]

Tower = Literal["audio", "text"]


@dataclass(frozen=True)
class BuildOptions:
    """Options of a build.

    Attributes:
        music: files to calibrate on; the clips that come with the package when empty.
        accuracy: the worst frame cosine to reach; the gate's when None.
        engine: options of an engine that differ from its defaults.
    """

    music: Sequence[Path] = ()
    accuracy: float | None = None
    engine: Mapping[str, Any] = field(default_factory=dict)


# Each imports what it needs when it is called: the table is for command lines, too.
def _int8(
    precision: "Precision", bundle: "Bundle", options: BuildOptions, front_end: bool = True
) -> "Recipe":
    from .quantize.int8.artefact import Int8Recipe
    from .quantize.int8.calibration import calibration_music

    return Int8Recipe(calibration_music(options.music), options.accuracy, front_end)


def _qdq(precision: "Precision", bundle: "Bundle", options: BuildOptions) -> "Recipe":
    from .quantize.int8.calibration import calibration_music
    from .quantize.qdq.artefact import QdqRecipe

    return QdqRecipe(precision, calibration_music(options.music), options.accuracy)


def _tensorrt(precision: "Precision", bundle: "Bundle", options: BuildOptions) -> "Recipe":
    from ..runtime.bundle.engine_options import engine_options
    from .engines.tensorrt.artefact import TensorRTRecipe, tensorrt_source

    return TensorRTRecipe(tensorrt_source(bundle, precision), engine_options(**options.engine))


def _tensorrt_rtx(precision: "Precision", bundle: "Bundle", options: BuildOptions) -> "Recipe":
    from ..runtime.bundle.engine_options import rtx_options
    from .engines.tensorrt_rtx.artefact import RtxRecipe

    return RtxRecipe(precision, rtx_options(precision, **options.engine))


def _by_precision(module: str, recipe: str) -> "Make":
    """What makes a recipe of a module from the precision alone."""

    def make(precision: "Precision", bundle: "Bundle", options: BuildOptions) -> "Recipe":
        made: Recipe = getattr(import_module(module, __package__), recipe)(precision)
        return made

    return make


def _of_one_window(module: str, recipe: str) -> "Make":
    """The same, for files that take windows of one length."""

    def make(precision: "Precision", bundle: "Bundle", options: BuildOptions) -> "Recipe":
        from ..runtime.bundle.engine_options import window_of

        window = options.engine.get("window_seconds")
        shapes = window_of(window, bundle.framing.window_seconds)
        made: Recipe = getattr(import_module(module, __package__), recipe)(precision, shapes)
        return made

    return make


_half = _by_precision(".quantize.half.artefact", "HalfRecipe")
_weight_only = _by_precision(".quantize.weight_only", "WeightOnlyRecipe")
_openvino = _by_precision(".engines.openvino", "OpenVinoRecipe")
_torch = _by_precision(".engines.pytorch", "TorchRecipe")
_executorch = _by_precision(".engines.phones.executorch", "ExecuTorchRecipe")
_litert = _of_one_window(".engines.phones.litert", "LiteRtRecipe")
_coreml = _of_one_window(".engines.phones.coreml", "CoreMlRecipe")
_ort_format = _by_precision(".engines.ort_format", "OrtFormatRecipe")
_text = _by_precision(".text_artefact", "TextTowerRecipe")


@dataclass(frozen=True)
class Choice:
    """One thing that can be built.

    Attributes:
        precision: the artefact's; several choices may share one.
        make: its recipe for a bundle.
        takes_accuracy: whether it reads ``BuildOptions.accuracy``.
        needs_checkpoint: whether it is made from more than what the bundle holds.
    """

    precision: "Precision"
    make: "Make"
    takes_accuracy: bool = False
    needs_checkpoint: bool = True

    def recipe(self, bundle: "Bundle", options: BuildOptions) -> "Recipe":
        """The recipe for a bundle."""
        return self.make(self.precision, bundle, options)


# By engine and what its precision is called, each engine's default first. The text tower's own are
# apart. ONNX Runtime's fp32 is what muqrt export writes.
RECIPES: dict[Tower, dict[tuple[str, str], Choice]] = {
    "audio": {
        ("onnxruntime", "int8"): Choice("int8", _int8, takes_accuracy=True),
        ("onnxruntime", "int8-mixed"): Choice(
            "int8", partial(_int8, front_end=False), takes_accuracy=True
        ),
        ("onnxruntime", "fp16"): Choice("fp16", _half),
        ("onnxruntime", "bf16"): Choice("bf16", _half),
        ("onnxruntime", "int8-qdq"): Choice("int8", _qdq, takes_accuracy=True),
        ("onnxruntime", "fp8"): Choice("fp8", _qdq, takes_accuracy=True),
        ("onnxruntime", "int8-weights"): Choice("int8-weights", _weight_only),
        ("onnxruntime", "int4-weights"): Choice("int4-weights", _weight_only),
        ("openvino", "bf16"): Choice("bf16", _openvino),
        ("openvino", "fp32"): Choice("fp32", _openvino),
        ("torch", "bf16"): Choice("bf16", _torch),
        ("torch", "fp16"): Choice("fp16", _torch),
        ("torch", "fp32"): Choice("fp32", _torch),
        ("executorch", "int8"): Choice("int8", _executorch),
        ("executorch", "fp32"): Choice("fp32", _executorch),
        ("litert", "int8"): Choice("int8", _litert),
        ("litert", "fp32"): Choice("fp32", _litert),
        ("coreml", "mixed"): Choice("fp16", _coreml),
        ("coreml", "fp32"): Choice("fp32", _coreml),
        ("tensorrt", "fp16"): Choice("fp16", _tensorrt),
        ("tensorrt", "bf16"): Choice("bf16", _tensorrt),
        ("tensorrt", "int8"): Choice("int8", _tensorrt),
        ("tensorrt", "fp8"): Choice("fp8", _tensorrt),
        ("tensorrt", "fp32"): Choice("fp32", _tensorrt),
        ("tensorrt-rtx", "fp16"): Choice("fp16", _tensorrt_rtx, needs_checkpoint=False),
        ("tensorrt-rtx", "bf16"): Choice("bf16", _tensorrt_rtx, needs_checkpoint=False),
        ("tensorrt-rtx", "int8"): Choice("int8", _tensorrt_rtx, needs_checkpoint=False),
        ("tensorrt-rtx", "fp8"): Choice("fp8", _tensorrt_rtx, needs_checkpoint=False),
        ("tensorrt-rtx", "fp32"): Choice("fp32", _tensorrt_rtx, needs_checkpoint=False),
    },
    "text": {("onnxruntime", "int8"): Choice("int8", _text)},
}
# What could be built and must not be, and why.
REFUSED = {
    ("coreml", "fp16"): "powers of the log-mel overflow in fp16, and the features' relative L2 was "
    "0.24. --precision mixed is fp16 with the log-mel in fp32."
}
# The same in ONNX Runtime's own format, from the bundle alone.
IN_ORT_FORMAT = {
    ("onnxruntime", "fp32"): Choice("fp32", _ort_format, needs_checkpoint=False),
    ("onnxruntime", "int8"): Choice("int8", _ort_format, needs_checkpoint=False),
}
ENGINES = tuple(dict.fromkeys(engine for engine, _ in RECIPES["audio"]))


def precisions(engine: str, tower: Tower = "audio") -> list[str]:
    """List the precisions that an engine's artefacts can be built in, its default first."""
    return [precision for each, precision in RECIPES[tower] if each == engine]
