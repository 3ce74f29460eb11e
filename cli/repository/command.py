"""``muqrt repository``: writes a bundle's models for Triton, or checks what was written."""

from pathlib import Path
from typing import TYPE_CHECKING

from ...common.console import Json
from ...errors import UsageError
from . import options as arguments

if TYPE_CHECKING:
    from ...runtime.bundle.manifest import Artefact, Bundle
    from ...triton_repo.repository.write import RepositoryReport
    from .config import RepositoryOptions


def repository(
    folder: arguments.Folder,
    output: arguments.Output = None,
    check: arguments.Check = None,
    config: arguments.Config = None,
    artefact: arguments.Artefact = None,
    allow_uncertified: arguments.Uncertified = False,
    model: arguments.ModelName = None,
    version: arguments.Version = None,
    outputs: arguments.Outputs = None,
    profile: arguments.Profile = None,
    max_batch_size: arguments.MaxBatchSize = None,
    queue_delay_ms: arguments.QueueDelay = None,
    queue_size: arguments.QueueSize = None,
    queue_timeout_s: arguments.QueueTimeout = None,
    length_seconds: arguments.LengthSeconds = None,
    instances: arguments.Instances = None,
    gpu: arguments.Gpu = None,
    threads: arguments.Threads = None,
    response_cache: arguments.ResponseCache = False,
    cuda_graphs: arguments.CudaGraphs = False,
    stream: arguments.Stream = False,
    max_streams: arguments.MaxStreams = None,
    idle_seconds: arguments.IdleSeconds = None,
    hop_seconds: arguments.HopSeconds = None,
    window_seconds: arguments.WindowSeconds = None,
    text_artefact: arguments.TextArtefact = None,
    label_sets: arguments.LabelSets = None,
    tensorrt: arguments.TensorRt = None,
    compute_capability: arguments.ComputeCapability = None,
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
        "artefact": artefact,
        "allow_uncertified": allow_uncertified or None,
        "model": model,
        "profile": profile,
        "text_artefact": text_artefact,
        "label_sets": label_sets,
        "outputs": [name.strip() for name in outputs.split(",")] if outputs else None,
        "max_batch_size": max_batch_size,
        "max_queue_delay_us": _microseconds(queue_delay_ms, 1e3),
        "max_queue_size": queue_size,
        "queue_timeout_us": _microseconds(queue_timeout_s),
        "lengths_seconds": length_seconds or None,
        "instances": instances,
        "gpus": gpu or None,
        "threads": threads,
        "version": version,
        "response_cache": response_cache or None,
        "cuda_graphs": cuda_graphs or None,
    }
    stream_flags = {
        "max_streams": max_streams,
        "idle_seconds": idle_seconds,
        "hop_seconds": hop_seconds,
        "window_seconds": window_seconds,
    }
    options = repository_options(config, flags, stream, stream_flags)
    bundle = load_bundle(folder)
    if check is not None:
        allowed = options.allow_uncertified
        report_check(check, bundle, tensorrt, compute_capability, allowed, as_json)
        return
    assert output is not None
    _write(bundle, output, options, as_json)


def _write(bundle: "Bundle", output: Path, options: "RepositoryOptions", as_json: bool) -> None:
    from ...common.config import save_config
    from ...triton_repo.repository.write import write_repository
    from .report import announce

    allow_uncertified = options.allow_uncertified
    artefact = bundle.artefact(options.artefact, allow_uncertified=allow_uncertified)
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
    config = output / f"{options.model}.toml"
    save_config(options, config)
    announce(report, streams, joint, options, config, as_json)


def _write_streams(
    bundle: "Bundle", output: Path, artefact: "Artefact", options: "RepositoryOptions"
) -> "RepositoryReport | None":
    """The model for live streams, where it was asked for."""
    from ...triton_repo.repository.stream import write_stream_repository

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
