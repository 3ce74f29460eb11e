"""An artefact for ExecuTorch, with XNNPACK for the CPUs of phones: any length, one waveform."""

import copy
import sys
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from ....common.environment import import_extra
from ....reference.portable.model import PortableMuQ, exported
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


@dataclass(frozen=True)
class ExecuTorchRecipe(PrecisionRecipe):
    """The artefact ``executorch-<precision>``, one ``.pte`` file.

    In int8 the encoder's linear layers have weights of 8 bits, one scale for each row, and their
    inputs are rounded to 8 bits by each step's own range; all else is fp32.
    """

    known = PRECISIONS
    called = "ExecuTorch's files"

    def write(self, bundle: Bundle, folder: Path, proof: Proof) -> Bundle:
        """Export the portable model, quantise it, and lower it to XNNPACK.

        Raises:
            BundleError: no fp32 ONNX artefact to follow. MissingDependencyError: no ExecuTorch.
        """
        import_extra("executorch", "executorch.exir", "torchao.quantization")
        source, framing = fp32_source(bundle), bundle.framing
        usual = framing.window_seconds
        shapes = lengths(SHORTEST_SECONDS, usual, max(LONGEST_SECONDS, usual))
        (_, shortest), _, (_, longest) = shapes.profiles[0].waveforms

        model = portable_model(source, proof)
        if self.precision == "int8":
            model = _quantised(model)
            proof.on_step("quantising")
        program = exported(model, shortest, longest)
        proof.on_step("exporting")
        path = folder / f"muq-{self.precision}.pte"
        path.write_bytes(_lowered(program))
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


def _quantised(model: PortableMuQ) -> PortableMuQ:
    from torchao.quantization import Int8DynamicActivationIntxWeightConfig, quantize_
    from torchao.quantization.granularity import PerAxis

    by_row = Int8DynamicActivationIntxWeightConfig(torch.int8, PerAxis(0))
    model = copy.deepcopy(model)  # its modules are the checkpoint's
    quantize_(model, by_row, _is_quantised)
    return model


def _is_quantised(module: nn.Module, name: str) -> bool:
    # A head's few products decide over tags.
    return isinstance(module, nn.Linear) and not name.startswith("head.")


def _lowered(program: torch.export.ExportedProgram) -> bytes:
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
    from executorch.exir import to_edge_transform_and_lower

    with redirect_stdout(sys.stderr):  # results go to stdout
        edge = to_edge_transform_and_lower(program, partitioner=[XnnpackPartitioner()])
        return bytes(edge.to_executorch().buffer)
