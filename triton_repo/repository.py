"""Bundle -> model repository: the folder that any Triton, GPU or CPU, serves."""

import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from ..errors import BundleError, UsageError
from ..files import atomic_folder
from ..runtime.bundle import Artefact, Bundle
from ..runtime.parts import encoder_file, front_end_file
from .config import (
    MODEL_FILENAME,
    MODEL_NAME_PATTERN,
    Contract,
    ModelConfig,
    ServingOptions,
    parameters_of,
    parse_config,
)

CONFIG_FILENAME = "config.pbtxt"
_VERSION = "1"


@dataclass(frozen=True)
class RepositoryReport:
    """What ``write_repository`` wrote. ``certified`` is False only for a forced artefact."""

    repository: Path
    model: str
    artefact: str
    precision: str
    target: str
    certified: bool
    files: list[str]
    size_bytes: int


def write_repository(
    bundle: Bundle,
    output: Path,
    artefact_name: str | None = None,
    *,
    allow_uncertified: bool = False,
    model_name: str = "muq",
    options: ServingOptions | None = None,
) -> RepositoryReport:
    """Write ``<output>/<model_name>``, whole or not at all; other models there are left alone.

    Files are hard links to the bundle's where the file system allows it, copies elsewhere.

    Args:
        artefact_name: the artefact to serve; the bundle's first certified one when left out.
        allow_uncertified: serve an artefact that has no passing certificate.
        options: batching, queue and threads; the defaults when left out.

    Raises:
        BundleError: no such artefact, not certified, changed since its export, or not servable.
        UsageError: the model's name is not one, or something else is where it should go.
    """
    artefact = bundle.artefact(artefact_name, allow_uncertified=allow_uncertified)
    _require_onnx_runtime(artefact)
    _check_destination(output, model_name)
    bundle.verify(artefact)
    config = ModelConfig(
        name=model_name,
        contract=_contract(bundle, artefact),
        options=options or ServingOptions(),
        kind="KIND_CPU" if artefact.target == "cpu" else "KIND_AUTO",
    ).to_text()
    with atomic_folder(output / model_name) as folder:
        (folder / CONFIG_FILENAME).write_text(config, encoding="utf-8")
        for name, place in _places(artefact).items():
            destination = folder / _VERSION / place
            destination.parent.mkdir(parents=True, exist_ok=True)
            _link_or_copy(bundle.path(name), destination)
    written = sorted(path for path in (output / model_name).rglob("*") if path.is_file())
    return RepositoryReport(
        repository=output,
        model=model_name,
        artefact=artefact.name,
        precision=artefact.precision,
        target=artefact.target,
        certified=artefact.certified,
        files=[path.relative_to(output).as_posix() for path in written],
        size_bytes=sum(path.stat().st_size for path in written),
    )


def _require_onnx_runtime(artefact: Artefact) -> None:
    if artefact.engine != "onnxruntime":
        raise BundleError(
            f"artefact {artefact.name!r} is for {artefact.engine}; Triton serves artefacts for "
            "onnxruntime. Name one of those with --artefact."
        )


def _contract(bundle: Bundle, artefact: Artefact) -> Contract:
    return Contract(
        framing=bundle.framing,
        level=artefact.level,
        precision=artefact.precision,
        artefact_sha256=artefact.digest,
        source=f"{bundle.source.checkpoint} sha256:{bundle.source.sha256}",
        inputs=artefact.inputs,
        outputs=artefact.outputs,
        tagging=bundle.tagging,
        tokenizer=bundle.tokenizer,
    )


def _places(artefact: Artefact) -> dict[str, str]:
    """Where each of the artefact's files goes, relative to the version's folder."""
    home = PurePosixPath(artefact.file).parent
    places = {}
    # A server runs whole windows.
    parts = {front_end_file(artefact.file), encoder_file(artefact.file)}
    for name in (name for name in artefact.files if name not in parts):
        path = PurePosixPath(name)
        if name == artefact.file:
            places[name] = MODEL_FILENAME
        elif path.is_relative_to(home):
            # The graph refers to its external data by this name, relative to itself.
            places[name] = path.relative_to(home).as_posix()
        else:
            raise BundleError(
                f"{name} is not beside {artefact.file}, so the graph cannot refer to it once it "
                "is in a model repository. Export the bundle again."
            )
    if len(set(places.values())) < len(places):
        raise BundleError(f"external data of {artefact.file} is called {MODEL_FILENAME}; rename it")
    return places


def _check_destination(output: Path, model_name: str) -> None:
    if not re.fullmatch(MODEL_NAME_PATTERN, model_name):
        raise UsageError(
            f"{model_name!r} cannot be a model's name; use letters, digits, '_', '-' and '.'."
        )
    if output.exists() and not output.is_dir():
        raise UsageError(f"{output} is a file; name a folder for the model repository.")
    model = output / model_name
    if model.exists() and not _is_ours(model):
        raise UsageError(
            f"{model} exists and muqrt did not write it, so it is left alone. Choose another "
            "output folder or another model name, or remove it yourself."
        )


def _is_ours(model: Path) -> bool:
    try:
        message = parse_config((model / CONFIG_FILENAME).read_text(encoding="utf-8"))
        Contract.from_parameters(parameters_of(message))
    except (OSError, ValueError, KeyError):
        return False
    return True


def _link_or_copy(source: Path, destination: Path) -> None:
    try:
        os.link(source, destination)
    except OSError:  # another file system, or one without hard links
        shutil.copyfile(source, destination)
