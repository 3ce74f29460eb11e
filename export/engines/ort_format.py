"""An artefact in ONNX Runtime's own format: one file, optimised beforehand, for phones.

A build of ONNX Runtime without its ONNX reader, or with a model's operators alone, loads no other.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import onnxruntime as ort

from ...errors import BundleError
from ...runtime.bundle.certificate import Precision
from ...runtime.bundle.manifest import Artefact, Bundle
from ..bundle.candidate import alone, following, fp32_source
from ..bundle.recipe import PrecisionRecipe
from ..parity.proof import Proof

PRECISIONS: tuple[Precision, ...] = ("fp32", "int8")
# Layouts of the processor that writes the file; others would not run it.
_OF_THIS_PROCESSOR = ["NchwcTransformer"]


@dataclass(frozen=True)
class OrtFormatRecipe(PrecisionRecipe):
    """The artefact ``ort-<precision>``: the bundle's ONNX artefact of that precision in one file.

    Beside it is the list of the operators that it needs, which ONNX Runtime's ``build.py`` takes as
    ``--include_ops_by_config``.
    """

    known = PRECISIONS
    called = "files in ONNX Runtime's format"

    def write(self, bundle: Bundle, folder: Path, proof: Proof) -> Bundle:
        """Optimise the ONNX artefact's whole graph, and write it with its weights.

        Raises:
            BundleError: the bundle has no such ONNX artefact, it has changed, or it cannot be
                written, such as one of more than 2 GB.
        """
        source = self._source(bundle)
        bundle.verify(source)
        path = folder / f"muq-{self.precision}.ort"
        try:
            _convert(bundle.path(source.file), path)
        except Exception as error:  # onnxruntime's exceptions share no base of their own
            raise BundleError(f"{source.file}: ONNX Runtime cannot write it: {error}") from None
        operators = path.with_suffix(".required-operators.config")
        _write_operators([path], operators)
        artefact = following(
            source,
            [path, operators],
            name=f"ort-{self.precision}",
            engine="onnxruntime",
            precision=self.precision,
            target=source.target,
            quantization=source.quantization,
        )
        return alone(bundle, artefact, folder)

    def _source(self, bundle: Bundle) -> Artefact:
        if self.precision == "fp32":
            return fp32_source(bundle)
        name = f"onnx-{self.precision}"
        if any(each.name == name for each in bundle.artefacts):
            return bundle.named(name)
        raise BundleError(
            f"{bundle.folder}: no artefact {name}, which the file is made from. First run: muqrt "
            f"build {bundle.folder} --checkpoint CHECKPOINT --precision {self.precision}"
        )


def _convert(source: Path, path: Path) -> None:
    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.optimized_model_filepath = str(path)
    options.add_session_config_entry("session.save_model_format", "ORT")
    providers = ["CPUExecutionProvider"]
    ort.InferenceSession(
        str(source), options, providers=providers, disabled_optimizers=_OF_THIS_PROCESSOR
    )


def _write_operators(models: Iterable[Path], path: Path) -> None:
    from onnxruntime.tools.ort_format_model import create_config_from_models

    create_config_from_models(models, path, enable_type_reduction=False)
    lines = path.read_text(encoding="utf-8").splitlines()
    # Its first lines name temporary files.
    kept = [line for line in lines if not line.startswith("#")]
    path.write_text("\n".join(kept) + "\n", encoding="utf-8")
