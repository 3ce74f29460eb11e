"""An artefact in a folder of its own, before it is one of the bundle's."""

import os
import shutil
from collections.abc import Iterable
from pathlib import Path

import onnx

from ...common.files import sha256
from ...errors import BundleError
from ...runtime.bundle.certificate import Precision
from ...runtime.bundle.manifest import Artefact, Bundle
from ...runtime.bundle.tokens import TOKENS_FILE
from ..graph.saving import save_onnx
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


def alone(bundle: Bundle, artefact: Artefact, folder: Path) -> Bundle:
    """The bundle in ``folder`` with one artefact, so that the others are not measured again."""
    return Bundle(**{**dict(bundle), "artefacts": [artefact], "folder": folder})


def share(bundle: Bundle, names: Iterable[str], folder: Path) -> list[Path]:
    """Put files of the bundle into a folder inside it too, without copying where the file system
    has hard links; returns them."""
    shared = []
    for name in names:
        shared.append(folder / name)
        try:
            os.link(bundle.path(name), folder / name)
        except OSError:
            shutil.copyfile(bundle.path(name), folder / name)
    return shared


def onnx_candidate(
    bundle: Bundle,
    graph: onnx.ModelProto,
    precision: Precision,
    folder: Path,
    target: str = "any",
    name: str | None = None,
) -> Bundle:
    """A bundle in ``folder`` with the graph as its only artefact, not yet certified.

    Args:
        bundle: which is to have the artefact.
        graph: with the outputs of its fp32 artefact.
        precision: the graph's.
        folder: where to write.
        target: "cpu" for a graph that only CPUs run well.
        name: what follows "onnx-" in the artefact's name; the precision by default.
    """
    name = name or precision
    source, file = fp32_source(bundle), f"muq-{name}.onnx"
    files = save_onnx(graph, folder / file)
    files += save_parts(graph, folder / file, source.inputs, source.outputs, bundle.meanings)
    # Tokens are fp32 in all artefacts.
    files += share(bundle, (each for each in source.files if each.startswith(TOKENS_FILE)), folder)
    artefact = Artefact(
        name=f"onnx-{name}",
        engine="onnxruntime",
        precision=precision,
        target=target,
        file=file,
        files={path.name: sha256(path) for path in files},
        level=source.level,
        inputs=source.inputs,
        outputs=source.outputs,
    )
    return alone(bundle, artefact, folder)
