"""An artefact for LiteRT, the former TensorFlow Lite: windows of one length."""

import sys
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path

import torch

from ....common.environment import import_extra
from ....runtime.bundle.certificate import Precision
from ....runtime.bundle.engine_options import PhonePlan, Shaped
from ....runtime.bundle.manifest import Bundle
from ...bundle.candidate import alone, following, fp32_source
from ...bundle.recipe import PrecisionRecipe
from ...parity.proof import Proof
from .portable import portable_model, portable_outputs

PRECISIONS: tuple[Precision, ...] = ("fp32", "int8")
# What the quantiser names by its output's place in the model: the mel stays fp32, and so do the few
# products of a head, which decide over tags.
_FP32 = "MatrixLogMel|Head"


@dataclass(frozen=True)
class LiteRtRecipe(PrecisionRecipe):
    """The artefact ``litert-<precision>``, one ``.tflite`` file.

    In int8 the encoder's linear layers and convolutions have weights of 8 bits, one scale for each
    row, and their inputs are rounded to 8 bits by each run's own range; all else is fp32.

    Attributes:
        shapes: the window it takes.
    """

    shapes: Shaped
    known = PRECISIONS
    called = "LiteRT's files"

    def write(self, bundle: Bundle, folder: Path, proof: Proof) -> Bundle:
        """Convert the portable model, and quantise it.

        Raises:
            BundleError: no fp32 ONNX artefact to follow. MissingDependencyError: no LiteRT.
        """
        litert_torch = import_extra("litert", "litert_torch", "ai_edge_quantizer")
        source = fp32_source(bundle)
        _, (_, samples), _ = self.shapes.profiles[0].waveforms
        path = folder / f"muq-{self.precision}.tflite"
        model = portable_model(source, proof)
        with redirect_stdout(sys.stderr):  # results go to stdout
            litert_torch.convert(model, (torch.zeros(1, samples),)).export(str(path))
        proof.on_step("converting")
        if self.precision == "int8":
            with redirect_stdout(sys.stderr):
                _quantise(path)
            proof.on_step("quantising")
        artefact = following(
            source,
            [path],
            name=f"litert-{self.precision}",
            engine="litert",
            precision=self.precision,
            target="cpu",
            outputs=portable_outputs(source),
            plan=PhonePlan(options=self.shapes),
        )
        return alone(bundle, artefact, folder)


def _quantise(path: Path) -> None:
    from ai_edge_quantizer.qtyping import TFLOperationName
    from ai_edge_quantizer.quantizer import Quantizer

    quantizer = Quantizer(str(path))
    for operation in (TFLOperationName.FULLY_CONNECTED, TFLOperationName.CONV_2D):
        quantizer.add_dynamic_config(f"^(?!.*({_FP32})).*", operation, num_bits=8)
    quantizer.quantize().export_model(str(path), overwrite=True)
