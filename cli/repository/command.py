"""``muqrt repository``: writes a bundle's models for Triton, or checks what was written."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ...common.console import Json
from ...errors import UsageError
from ...runtime.bundle.shipped import SHIPPED_BUNDLE
from ..options import on_this_machine
from ..parameters import expand_options
from .options import MOST_SECONDS, ServingFlags, StreamFlags

if TYPE_CHECKING:
    from ...runtime.bundle.manifest import Artefact, Bundle
    from ...triton_repo.repository.write import RepositoryReport
    from .config import RepositoryOptions


@expand_options
def repository(
    folder: Annotated[
        Path,
        typer.Argument(
            metavar="[BUNDLE]",
            help="Bundle folder, or hf://USER/NAME on the hub; muq-mini's, which comes with muqrt, "
            "by default.",
            show_default=False,
            callback=on_this_machine,
        ),
    ] = SHIPPED_BUNDLE,
    *,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Model repository to write to.")
    ] = None,
    check: Annotated[
        Path | None,
        typer.Option(metavar="MODELS", help="Check this model repository against BUNDLE."),
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.toml",
            help="Read options from this file; flags override single values.",
        ),
    ] = None,
    serving: ServingFlags,
    outputs: Annotated[
        str | None, typer.Option(help="Outputs to serve, comma-separated; all by default.")
    ] = None,
    queue_delay_ms: Annotated[
        float | None,
        typer.Option(
            min=0,
            max=60_000,
            help="Milliseconds a request waits for others to share its batch; 2 by default.",
        ),
    ] = None,
    queue_timeout_s: Annotated[
        float | None,
        typer.Option(
            min=0.001,
            max=MOST_SECONDS,
            help="Reject requests that wait longer than this many seconds; no limit by default.",
        ),
    ] = None,
    stream: Annotated[
        bool, typer.Option("--stream", help="Also write the model that tags live streams.")
    ] = False,
    streams: StreamFlags,
    tensorrt: Annotated[
        str | None,
        typer.Option(help="With --check: TensorRT version of the server (10.13.3.9)."),
    ] = None,
    compute_capability: Annotated[
        list[str] | None,
        typer.Option(help="With --check: compute capability of a server's GPU (9.0); repeatable."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Write or check a model repository for Triton."""
    if (output is None) == (check is None):
        raise UsageError("say what to do: --output MODELS writes it, --check MODELS checks it.")
    if (tensorrt or compute_capability) and check is None:
        raise UsageError("--tensorrt and --compute-capability go with --check.")
    from ...runtime.bundle.manifest import load_bundle
    from .config import repository_options
    from .report import report_check

    flags = {
        **vars(serving),
        "outputs": [name.strip() for name in outputs.split(",")] if outputs else None,
        "max_queue_delay_us": _microseconds(queue_delay_ms, 1e3),
        "queue_timeout_us": _microseconds(queue_timeout_s),
    }
    options = repository_options(config, flags, stream, vars(streams))
    bundle = load_bundle(folder)
    if check is not None:
        allowed = options.allow_uncertified
        report_check(check, bundle, tensorrt, compute_capability, allowed, as_json)
        return
    assert output is not None
    _write(bundle, output, options, as_json)


def _write(bundle: "Bundle", output: Path, options: "RepositoryOptions", as_json: bool) -> None:
    from ...common.config import save_config
    from ...triton_repo.repository.layout import config_of
    from ...triton_repo.repository.write import check_destination, write_repository
    from .report import announce

    allow_uncertified = options.allow_uncertified
    artefact = bundle.artefact(options.artefact, allow_uncertified=allow_uncertified)
    check_destination(output, options.model)
    # With this machine's defaults, so that the options that are saved write the same elsewhere.
    limits = config_of(bundle, artefact, options.model, options).limits
    options = replace(options, limits=limits)
    streams = _write_streams(bundle, output, artefact, options)
    joint = _write_joint(bundle, output, artefact, options)
    report = write_repository(
        bundle,
        output,
        artefact.name,
        allow_uncertified=allow_uncertified,
        model_name=options.model,
        options=options,
    )
    track = _write_track(bundle, output, artefact, options)
    config = output / f"{options.model}.toml"
    save_config(options, config)
    announce(report, streams, track, joint, options, config, as_json)


def _write_streams(
    bundle: "Bundle", output: Path, artefact: "Artefact", options: "RepositoryOptions"
) -> "RepositoryReport | None":
    """The model for live streams, where it was asked for."""
    from ...triton_repo.repository.write import write_stream_repository

    if options.stream is None:
        return None
    if artefact.engine == "tensorrt":
        raise UsageError("--stream is not for TensorRT: choose another artefact (--artefact).")
    return write_stream_repository(
        bundle,
        output,
        artefact.name,
        allow_uncertified=True,  # or it would not have been chosen
        model_name=f"{options.model}_stream",
        options=options.stream,
    )


def _write_track(
    bundle: "Bundle", output: Path, artefact: "Artefact", options: "RepositoryOptions"
) -> "RepositoryReport | None":
    """The model for encoded files, where it was asked for."""
    from ...triton_repo.repository.track import write_track

    if not options.track:
        return None
    name = "track" if options.model == "muq" else f"{options.model}_track"
    return write_track(bundle, output, artefact, options.model, name, options)


def _write_joint(
    bundle: "Bundle", output: Path, artefact: "Artefact", options: "RepositoryOptions"
) -> "list[RepositoryReport]":
    """The models of a MuQ-MuLan, where the artefact gives latents."""
    from ...triton_repo.repository.mulan import JointNames, gives_latents, write_joint_repository

    if gives_latents(artefact):
        return write_joint_repository(
            bundle,
            output,
            artefact.name,
            options.text_artefact,
            allow_uncertified=options.allow_uncertified,
            names=JointNames.beside(options.model),
            options=options,
            label_sets=options.label_sets,
        )
    if options.text_artefact or options.label_sets:
        raise UsageError(
            "--text-artefact and --label-sets are for a MuQ-MuLan, and artefact "
            f"{artefact.name!r} gives no latents."
        )
    return []


def _microseconds(value: float | None, each: float = 1e6) -> int | None:
    return None if value is None else round(value * each)
