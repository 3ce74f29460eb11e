"""Write a bundle's models into a Triton model repository."""

import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from ...common.files import atomic_folder
from ...errors import UsageError
from ...runtime.bundle.manifest import Bundle, Tower
from ...runtime.streaming.stream import SlidingConfig
from ..contract.config import (
    MODEL_NAME_PATTERN,
    OURS,
    ModelConfig,
    as_text,
    parameters_of,
    parse_config,
)
from ..contract.mulan import TextConfig, ZeroShotConfig
from ..contract.options import ServingOptions
from ..contract.stream import StreamConfig, StreamOptions
from ..contract.track import TrackConfig
from .layout import LIVE_STREAMS, Layout, config_of, layout_of, scripted, stream_contract

CONFIG_FILENAME = "config.pbtxt"
VERSION = "1"

AnyConfig = ModelConfig | StreamConfig | TextConfig | TrackConfig | ZeroShotConfig


@dataclass(frozen=True)
class RepositoryReport:
    """One model that was written. ``certified`` is False only with ``allow_uncertified``."""

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
    tower: Tower | None = None,
) -> RepositoryReport:
    """Write ``<output>/<model_name>``, whole or not at all; other models there are left alone.

    Files are hard links to the bundle's if the file system allows it, otherwise copies. A TensorRT
    artefact brings the bundle's certified plans of the same model for other GPUs.

    Args:
        artefact_name: the artefact to serve; the first certified one when None.
        allow_uncertified: serve an artefact that has no passing certificate.
        model_name: name of the model on the server.
        options: outputs, batching, queues and so on; the defaults when None.
        tower: which tower of a MuQ-MuLan the artefact is for.

    Raises:
        BundleError: no such artefact, not certified, changed since its export, or not servable.
        UsageError: the model's name is not allowed, the destination is taken, or an option does
            not fit the artefact.
    """
    artefact = bundle.artefact(artefact_name, allow_uncertified=allow_uncertified, tower=tower)
    options = options or ServingOptions()
    layout = layout_of(bundle, artefact, options.outputs)
    check_destination(output, model_name)
    config = config_of(bundle, artefact, model_name, options)
    for each in layout.artefacts:
        bundle.verify(each)
    return write_model(bundle, layout, config, output, str(options.version))


def write_stream_repository(
    bundle: Bundle,
    output: Path,
    artefact_name: str | None = None,
    *,
    allow_uncertified: bool = False,
    model_name: str = "muq_stream",
    options: StreamOptions | None = None,
) -> RepositoryReport:
    """Write ``<output>/<model_name>``, whole or not at all; other models there are left alone.

    Its version is a bundle of that one artefact, with the ``model.py`` that runs it. Files are hard
    links to the bundle's if the file system allows it, otherwise copies.

    Args:
        artefact_name: the artefact to serve; the first certified one when None.
        allow_uncertified: serve an artefact that has no passing certificate.
        model_name: name of the model on the server.
        options: limits, hop and window; the defaults when None.

    Raises:
        BundleError: no such artefact, not certified, without tags, or changed since its export.
        UsageError: the model's name is not allowed, the destination is taken, or the hop does not
            fit the window.
    """
    artefact = bundle.artefact(artefact_name, allow_uncertified=allow_uncertified)
    options = options or StreamOptions()
    lengths = options.hop_seconds, options.window_seconds
    sliding = SlidingConfig.every(bundle.framing, bundle.tagging, *lengths)
    config = StreamConfig(model_name, stream_contract(bundle, artefact, sliding), options)
    check_destination(output, model_name)
    bundle.verify(artefact)
    return write_model(bundle, scripted(artefact, LIVE_STREAMS), config, output)


def write_model(
    bundle: Bundle, layout: Layout, config: AnyConfig, output: Path, version: str = VERSION
) -> RepositoryReport:
    """Write a model's folder, whole or not at all: its ``config.pbtxt``, and one version."""
    check_destination(output, config.name)
    with atomic_folder(output / config.name) as folder:
        (folder / CONFIG_FILENAME).write_text(as_text(config.to_protobuf()), encoding="utf-8")
        home = folder / version
        home.mkdir()
        for place, name in layout.sources.items():
            destination = home / place
            destination.parent.mkdir(parents=True, exist_ok=True)
            _link_or_copy(bundle.path(name), destination)
        if layout.script is not None:
            (home / layout.filename).write_text(layout.script, encoding="utf-8")
        if layout.is_bundle:
            kept = {"artefacts": list(layout.artefacts), "answers": None}
            bundle.model_copy(update=kept).save(home)
    artefact = layout.artefacts[0]
    written = sorted(path for path in (output / config.name).rglob("*") if path.is_file())
    return RepositoryReport(
        repository=output,
        model=config.name,
        artefact=artefact.name,
        precision=artefact.precision,
        target=artefact.target,
        certified=artefact.certified,
        files=[path.relative_to(output).as_posix() for path in written],
        size_bytes=sum(path.stat().st_size for path in written),
    )


def check_destination(output: Path, model_name: str) -> None:
    """Raise UsageError unless muqrt may write, or replace, this model."""
    if not re.fullmatch(MODEL_NAME_PATTERN, model_name):
        raise UsageError(
            f"{model_name!r} is not a valid model name; use letters, digits, '_', '-' and '.'."
        )
    if output.exists() and not output.is_dir():
        raise UsageError(f"{output} is a file; name a folder for the model repository.")
    model = output / model_name
    if model.exists() and not _is_ours(model):
        raise UsageError(
            f"{model} exists and muqrt did not write it. Choose another output folder "
            "or model name, or remove it."
        )


def _is_ours(model: Path) -> bool:
    try:
        message = parse_config((model / CONFIG_FILENAME).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return OURS in parameters_of(message)


def _link_or_copy(source: Path, destination: Path) -> None:
    """Make a file that is never written to: a hard link where the file system has them."""
    try:
        os.link(source, destination)
    except OSError:  # another file system, or one without hard links
        shutil.copyfile(source, destination)
