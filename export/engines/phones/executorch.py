"""An artefact for ExecuTorch, with XNNPACK for the CPUs of phones: any length, one waveform."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ....common.environment import import_extra
from ....reference.portable.model import exported
from ....runtime.bundle.certificate import Precision
from ....runtime.bundle.engine_options import PhonePlan, lengths
from ....runtime.bundle.manifest import Bundle
from ...bundle.candidate import alone, following, fp32_source
from ...bundle.recipe import PrecisionRecipe
from ...parity.proof import Proof
from .portable import portable_model, portable_outputs

PRECISIONS: tuple[Precision, ...] = ("fp32", "int8")
# With a single step, a 25th of a second, PyTorch would export a program for that length alone.
SHORTEST_SECONDS = 0.05
# A program says beforehand how much memory it needs, which is for the longest.
LONGEST_SECONDS = 30.0
_EXAMPLE_SAMPLES = 24_000


@dataclass(frozen=True)
class ExecuTorchRecipe(PrecisionRecipe):
    """The artefact ``executorch-<precision>``, one ``.pte`` file.

    In int8 the linear layers have weights of 8 bits, one scale for each row, and their inputs are
    rounded to 8 bits by each run's own range; all else is fp32.
    """

    known = PRECISIONS
    called = "ExecuTorch's files"

    def write(self, bundle: Bundle, folder: Path, proof: Proof) -> Bundle:
        """Export the portable model, quantise it, and lower it to XNNPACK.

        Raises:
            BundleError: no fp32 ONNX artefact to follow. MissingDependencyError: no ExecuTorch.
        """
        import_extra("executorch", "executorch.exir", "torchao.quantization.pt2e")
        source, framing = fp32_source(bundle), bundle.framing
        usual = framing.window_seconds
        shapes = lengths(SHORTEST_SECONDS, usual, max(LONGEST_SECONDS, usual))
        (_, shortest), _, (_, longest) = shapes.profiles[0].waveforms

        def export(module: nn.Module) -> torch.export.ExportedProgram:
            return exported(module, shortest, longest)

        program = export(portable_model(source, proof))
        proof.on_step("exporting")
        if self.precision == "int8":
            program = _quantised(program, export)
            proof.on_step("quantising")
        path = folder / f"muq-{self.precision}.pte"
        path.write_bytes(_lowered(program, self.precision))
        proof.on_step("lowering")
        artefact = following(
            source,
            [path],
            name=f"executorch-{self.precision}",
            engine="executorch",
            precision=self.precision,
            target="cpu",
            outputs=portable_outputs(source),
            plan=PhonePlan(options=shapes),
        )
        return alone(bundle, artefact, folder)


def _quantised(
    program: torch.export.ExportedProgram,
    export: Callable[[nn.Module], torch.export.ExportedProgram],
) -> torch.export.ExportedProgram:
    from executorch.backends.xnnpack.quantizer import xnnpack_quantizer as xnnpack
    from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e

    dynamic = xnnpack.get_symmetric_quantization_config(is_per_channel=True, is_dynamic=True)
    quantizer = xnnpack.XNNPACKQuantizer().set_module_type(nn.Linear, dynamic)
    prepared = prepare_pt2e(program.module(), quantizer)
    # The ranges of the weights are taken in a run; those of their inputs in every run.
    prepared(torch.zeros(1, _EXAMPLE_SAMPLES))
    return export(convert_pt2e(prepared))


def _lowered(program: torch.export.ExportedProgram, precision: str) -> bytes:
    from executorch.backends.xnnpack.partition import xnnpack_partitioner as xnnpack
    from executorch.exir import to_edge_transform_and_lower

    partitioners: list[Any] = [xnnpack.XnnpackPartitioner()]
    if precision == "int8":
        partitioners.insert(0, xnnpack.XnnpackDynamicallyQuantizedPartitioner())
    edge = to_edge_transform_and_lower(program, partitioner=partitioners)
    return bytes(edge.to_executorch().buffer)
