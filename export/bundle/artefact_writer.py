"""Another artefact for a bundle that has one: the same outputs from another graph."""

import shutil
from pathlib import Path

import onnx

from ...common.files import sha256
from ...errors import BundleError
from ...runtime.bundle.certificate import Precision
from ...runtime.bundle.manifest import Artefact, Bundle
from ...runtime.bundle.tokens import TOKENS_FILE
from ..onnx_from_checkpoint import save_onnx
from .parts import save_parts


def fp32_source(bundle: Bundle) -> Artefact:
    """The artefact whose level and outputs another one is to have.

    Raises:
        BundleError: there is none.
    """
    for artefact in bundle.audio_artefacts:
        if artefact.engine == "onnxruntime" and artefact.precision == "fp32":
            return artefact
    raise BundleError(f"{bundle.folder}: no fp32 artefact for ONNX Runtime. Export it again.")


def candidate(
    bundle: Bundle,
    graph: onnx.ModelProto,
    precision: Precision,
    folder: Path,
    name: str | None = None,
) -> Bundle:
    """A bundle in ``folder`` with the graph as its only artefact, not yet certified.

    Alone, so that the others need not be measured again. ``name`` is what follows "onnx-" in its
    own, the precision when None.
    """
    name = name or precision
    source, file = fp32_source(bundle), f"muq-{name}.onnx"
    files = save_onnx(graph, folder / file)
    files += save_parts(graph, folder / file, source.inputs, source.outputs, bundle.meanings)
    for each in source.files:
        if each.startswith(TOKENS_FILE):  # these are fp32 in all artefacts
            files.append(Path(shutil.copy(bundle.path(each), folder)))
    artefact = Artefact(
        name=f"onnx-{name}",
        engine="onnxruntime",
        precision=precision,
        target="cpu",
        file=file,
        files={path.name: sha256(path) for path in files},
        level=source.level,
        inputs=source.inputs,
        outputs=source.outputs,
    )
    return Bundle(**{**dict(bundle), "artefacts": [artefact], "folder": folder})


def put(bundle: Bundle, added: Bundle) -> Artefact:
    """Move a candidate's files into the bundle, name it in the manifest, and return it.

    The manifest names an older one no more before its files are replaced.
    """
    (artefact,) = added.artefacts
    bundle.artefacts = [each for each in bundle.artefacts if each.name != artefact.name]
    bundle.save(bundle.folder)
    for name in artefact.files:
        (added.folder / name).replace(bundle.folder / name)
    bundle.artefacts = [*bundle.artefacts, artefact]
    bundle.save(bundle.folder)
    return artefact
