"""An artefact for TensorRT, beside the ONNX one that it is built from."""

from dataclasses import dataclass
from pathlib import Path

from ....errors import BundleError
from ....runtime.bundle.certificate import Precision
from ....runtime.bundle.engine_options import EngineOptions
from ....runtime.bundle.manifest import Artefact, Bundle
from ....runtime.bundle.tensorrt_plan import TensorRTPlan
from ....runtime.engines.cuda.device import CudaDevice
from ....runtime.engines.tensorrt.library import tensorrt_version
from ...bundle.candidate import alone, following, share
from ...bundle.recipe import Recipe
from ...parity.proof import Proof
from .build import engine_from_onnx, engine_layers

PRECISIONS: tuple[Precision, ...] = ("fp32", "fp16", "bf16", "int8", "fp8")


def tensorrt_source(bundle: Bundle, precision: Precision) -> Artefact:
    """Find the artefact to build an engine of this precision from.

    Raises:
        BundleError: there is none.
    """
    for artefact in bundle.audio_artefacts:
        # Beside a graph in int8 for GPUs there may be one that only CPUs understand.
        only_cpus = precision == "int8" and artefact.target == "cpu"
        if (artefact.engine, artefact.precision) == ("onnxruntime", precision) and not only_cpus:
            return artefact
    named = "int8-qdq" if precision == "int8" else precision
    raise BundleError(
        f"{bundle.folder}: no {precision} artefact for ONNX Runtime to build an engine from. Run: "
        f"muqrt build {bundle.folder} --checkpoint CHECKPOINT --precision {named}"
    )


@dataclass(frozen=True, eq=False)
class TensorRTRecipe(Recipe):
    """The artefact ``tensorrt-<precision>-<compute capability>``.

    It is built on this machine's first GPU, for it and for this TensorRT. Where the build fails or
    is interrupted, only its timing cache is written.

    Attributes:
        source: the bundle's ONNX artefact to build from; its precision is the engine's.
        options: the engine's. Parity is measured on the music that its profiles cover, and in their
            own shapes.
    """

    source: Artefact
    options: EngineOptions

    def write(self, bundle: Bundle, folder: Path, proof: Proof) -> Bundle:
        """Build the engine.

        Raises:
            BundleError: the source is not for TensorRT, or has changed. BuildError, KernelError,
                SessionError, MissingDependencyError: see ``engine_from_onnx``; or no GPU.
        """
        require_for_tensorrt(bundle, self.source)
        bundle.verify(self.source)
        version, device = tensorrt_version(), CudaDevice()
        plan = engine_from_onnx(bundle.path(self.source.file), self.options, proof.on_step)
        built_for = TensorRTPlan(
            tensorrt=version,
            compute_capability=device.compute_capability,
            gpu=device.name,
            cuda=device.cuda,
            source_sha256=self.source.digest,
            options=self.options,
            weights=self.source.file if self.options.stripped else None,
        )
        return alone(bundle, self._saved(bundle, plan, built_for, folder), folder)

    def _saved(
        self, bundle: Bundle, plan: bytes, built_for: TensorRTPlan, folder: Path
    ) -> Artefact:
        source = self.source
        name = f"{source.precision}-{built_for.compute_capability}"
        files = {f"muq-{name}.plan": plan}
        if self.options.inspect:
            layers = engine_layers(plan, built_for.version_compatible)
            files[f"muq-{name}-layers.json"] = layers.encode()
        for file, content in files.items():
            (folder / file).write_bytes(content)
        paths = [folder / file for file in files]
        if self.options.stripped:
            # The weights are put back from the graph and its external data.
            weights = (source.file, f"{source.file}.data")
            paths += share(bundle, (each for each in source.files if each in weights), folder)
        return following(
            source,
            paths,
            name=f"tensorrt-{name}",
            engine="tensorrt",
            precision=source.precision,
            target="any",
            plan=built_for,
        )


def require_for_tensorrt(bundle: Bundle, source: Artefact) -> None:
    """Raise BundleError unless this is a graph that TensorRT, of either kind, builds from."""
    if source.engine != "onnxruntime" or source.precision not in PRECISIONS:
        raise BundleError(
            f"{bundle.folder}: {source.name} ({source.engine}, {source.precision}) is not what "
            f"TensorRT builds from: an ONNX artefact in {', '.join(PRECISIONS)}."
        )
    if source.target == "cpu":
        raise BundleError(
            f"{bundle.folder}: {source.name} has its convolutions in a form that is only good on "
            "CPUs. Export the bundle with --target any, or build from its fp16 or bf16 artefact."
        )
