"""Artefacts that are written but not yet part of a bundle."""

import os
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import onnx

from ...common.files import sha256
from ...errors import BundleError
from ...runtime.bundle.certificate import Precision
from ...runtime.bundle.manifest import Artefact, Bundle
from ...runtime.bundle.tokens import TOKENS_FILE
from ..graph.saving import save_onnx
from .parts import save_parts


def fp32_source(bundle: Bundle) -> Artefact:
    """Return the fp32 ONNX artefact, whose level and outputs new artefacts copy.

    Raises:
        BundleError: there is none.
    """
    for artefact in bundle.audio_artefacts:
        if artefact.engine == "onnxruntime" and artefact.precision == "fp32":
            return artefact
    raise BundleError(f"{bundle.folder}: no fp32 artefact for ONNX Runtime. Export it again.")


def alone(bundle: Bundle, artefact: Artefact, folder: Path) -> Bundle:
    """Return the bundle in ``folder`` with one artefact, so that the others are not measured
    again."""
    return Bundle(**{**dict(bundle), "artefacts": [artefact], "folder": folder})


def following(
    source: Artefact, files: Sequence[Path], folder: Path | None = None, **facts: Any
) -> Artefact:
    """Describe an artefact with the level, inputs and outputs of another one.

    Args:
        source: the other one.
        files: the artefact's own, its main file first; they are hashed.
        folder: the bundle's; each file's own when None.
        facts: the rest of it, or what differs from the source's.
    """
    shared = {"level": source.level, "inputs": source.inputs, "outputs": source.outputs}
    hashes = {path.relative_to(folder or path.parent).as_posix(): sha256(path) for path in files}
    return Artefact(**{**shared, **facts, "file": next(iter(hashes)), "files": hashes})


def share(bundle: Bundle, names: Iterable[str], folder: Path) -> list[Path]:
    """Link files of the bundle into a folder inside it, or copy them where the file system has
    no hard links; returns the new paths."""
    shared = []
    for name in names:
        shared.append(folder / name)
        shared[-1].parent.mkdir(parents=True, exist_ok=True)
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
    """Write the graph into ``folder``; returns a bundle there with it as the only artefact.

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
    # What the fp32 artefact has parts for, its likes have, too.
    deepest = source.level if bundle.has_levels else None
    files += save_parts(
        graph, folder / file, source.inputs, source.outputs, bundle.meanings, deepest
    )
    # Tokens are fp32 in all artefacts.
    files += share(bundle, (each for each in source.files if each.startswith(TOKENS_FILE)), folder)
    artefact = following(
        source,
        files,
        name=f"onnx-{name}",
        engine="onnxruntime",
        precision=precision,
        target=target,
    )
    return alone(bundle, artefact, folder)
