"""An artefact for TensorRT for RTX, from the bundle alone and on any machine."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from ....runtime.bundle.certificate import Precision
from ....runtime.bundle.engine_options import RtxOptions
from ....runtime.bundle.manifest import Artefact, Bundle
from ....runtime.bundle.precision.mixed_precision import Emulation
from ....runtime.bundle.tensorrt_plan import RtxPlan
from ....runtime.engines.session import WAVEFORM
from ...bundle.candidate import alone, following
from ...bundle.recipe import Recipe
from ...parity.proof import Proof
from ..tensorrt.artefact import require_for_tensorrt, tensorrt_source
from .compiler import compile_for_rtx


@dataclass(frozen=True, eq=False)
class RtxRecipe(Recipe):
    """The artefact ``tensorrt-rtx-<precision>``.

    Where there is no GPU that it was compiled for, it is added without a certificate: compiled, not
    run. ``muqrt parity`` completes it on its GPU, with the answers in the bundle.

    Attributes:
        precision: its own, that of the ONNX artefact that it is compiled from.
        options: targets and shapes.
    """

    precision: Precision
    options: RtxOptions
    may_stay_unproven: ClassVar[bool] = True

    def write(self, bundle: Bundle, folder: Path, proof: Proof) -> Bundle:
        """Compile the graph.

        Raises:
            BundleError: no such ONNX artefact, or one for CPUs only, or it has changed. BuildError,
                MissingDependencyError: see ``compile_for_rtx``.
        """
        source = tensorrt_source(bundle, self.precision)
        require_for_tensorrt(bundle, source)
        bundle.verify(source)
        profiles = [{WAVEFORM: profile.waveforms} for profile in self.options.profiles]
        path = bundle.path(source.file)
        engine = compile_for_rtx(path, self.options.targets, profiles, proof.on_step)
        worst, emulated = _known(source)
        name = f"tensorrt-rtx-{self.precision}"
        file = folder / f"muq-{name}.engine"
        file.write_bytes(engine.content)
        plan = RtxPlan(
            tensorrt_rtx=engine.version,
            options=self.options,
            source=source.name,
            source_sha256=source.digest,
            source_worst=worst,
            source_emulated=emulated,
        )
        artefact = following(
            source,
            [file],
            name=name,
            engine="tensorrt-rtx",
            precision=self.precision,
            target="any",
            plan=plan,
        )
        return alone(bundle, artefact, folder)


def _known(source: Artefact) -> tuple[Emulation | None, bool]:
    """The worst figures that are known of a graph, and whether they are an emulation's."""
    if source.mixed_precision is not None:
        return source.mixed_precision.emulation, True
    if source.certificate is not None and source.certified:
        return Emulation(**dict(source.certificate.worst)), False
    return None, False
