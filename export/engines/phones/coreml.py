"""An artefact for Core ML: windows of one length, an ML program. Experimental: no Apple device has
run one."""

import inspect
import io
from collections.abc import Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from ....common.environment import import_extra
from ....errors import UsageError
from ....reference.portable.log_mel import MatrixLogMel
from ....runtime.bundle.certificate import Precision
from ....runtime.bundle.engine_options import NEVER_RUN, CoreMlPlan, Shaped
from ....runtime.bundle.manifest import Bundle
from ....runtime.bundle.record import TensorSpec
from ....runtime.engines.coreml.program import coremltools
from ....runtime.engines.session import WAVEFORM
from ...bundle.candidate import alone, following, fp32_source
from ...bundle.recipe import PrecisionRecipe
from ...parity.proof import Proof
from .portable import portable_model, portable_outputs

PRECISIONS: tuple[Precision, ...] = ("fp32", "fp16")
NAMES = {"fp32": "fp32", "fp16": "mixed"}
_EINSUM = torch.ops.aten.einsum.default  # coremltools reads no "..." in its equations
# Operations remember where in PyTorch's code they come from.
_LOG_MEL = inspect.getfile(MatrixLogMel)


@dataclass(frozen=True)
class CoreMlRecipe(PrecisionRecipe):
    """The artefact ``coreml-fp32``, or ``coreml-mixed``: fp16, but the log-mel is fp32.

    Attributes:
        shapes: the window it takes.
    """

    shapes: Shaped
    known = PRECISIONS
    called = "Core ML's packages"

    def write(self, bundle: Bundle, folder: Path, proof: Proof) -> Bundle:
        """Convert the portable model.

        Raises:
            BundleError: no fp32 ONNX artefact to follow. MissingDependencyError: no coremltools.
        """
        coremltools()
        source, name = fp32_source(bundle), NAMES[self.precision]
        _, (_, samples), _ = self.shapes.profiles[0].waveforms
        outputs, package = portable_outputs(source), folder / f"muq-{name}.mlpackage"
        saved = converted(portable_model(source, proof), samples, outputs, self.precision)
        saved.save(str(package))
        # PyTorch's code, with the paths that it has here.
        (package / "executorch_debug_handle_mapping.json").unlink(missing_ok=True)
        proof.on_step("converting")
        files = sorted(each for each in package.rglob("*") if each.is_file())
        first = package / "Manifest.json"
        artefact = following(
            source,
            [first, *(each for each in files if each != first)],
            folder,
            name=f"coreml-{name}",
            engine="coreml",
            precision=self.precision,
            target="apple",
            outputs=outputs,
            plan=CoreMlPlan(experimental=NEVER_RUN, options=self.shapes),
        )
        return alone(bundle, artefact, folder)


def converted(
    model: nn.Module,
    samples: int,
    outputs: Sequence[TensorSpec],
    precision: Precision,
) -> Any:
    """Convert a model to an ML program, a coremltools ``MLModel`` that is not loaded.

    Args:
        model: takes one waveform (1, samples).
        samples: the waveform's.
        outputs: what it gives, in order.
        precision: fp32, or fp16 but for the log-mel, whose powers overflow in it.

    Raises:
        UsageError: the model has an STFT of its own.
    """
    ct = coremltools()
    passes = import_extra("coreml", "coremltools.converters.mil.mil.scope")
    program = torch.export.export(model, (torch.zeros(1, samples),))
    decomposed = torch.export.default_decompositions()
    program = program.run_decompositions({_EINSUM: decomposed[_EINSUM]})
    if any("stft" in str(node.target) for node in program.graph.nodes):
        raise UsageError(
            "the model has an STFT of its own, and coremltools' is not PyTorch's: its relative L2 "
            "was 0.17. Convert the portable model."
        )

    def is_half(operation: Any) -> bool:
        origin = operation.scopes.get(passes.ScopeSource.EXIR_STACK_TRACE)
        return _LOG_MEL not in str(origin)

    is_fp32 = precision == "fp32"
    # Its progress bars would run through ours, and results go to stdout.
    with redirect_stdout(io.StringIO()) as said, redirect_stderr(said):
        return ct.convert(
            program,
            inputs=[ct.TensorType(WAVEFORM, (1, samples))],
            outputs=[ct.TensorType(each.name, dtype=np.dtype(each.dtype).type) for each in outputs],
            convert_to="mlprogram",
            minimum_deployment_target=ct.target.iOS16,
            compute_precision=ct.precision.FLOAT32
            if is_fp32
            else ct.transform.FP16ComputePrecision(is_half),
            skip_model_load=True,
        )
