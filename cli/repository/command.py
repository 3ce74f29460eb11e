"""``muqrt repository``: writes a bundle's models for Triton, or checks what was written."""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...common.console import Json
from ...errors import UsageError
from . import options as arguments

if TYPE_CHECKING:
    from ...runtime.bundle.manifest import Artefact, Bundle
    from ...triton_repo.contract.options import QueuePolicy, RateLimit, ServingOptions
    from ...triton_repo.repository.write import RepositoryReport


def repository(
    folder: arguments.Folder = None,
    output: arguments.Output = None,
    check: arguments.Check = None,
    bundle: arguments.SameFolder = None,
    artefact: arguments.Artefact = None,
    allow_uncertified: arguments.Uncertified = False,
    model: arguments.ModelName = "muq",
    version: arguments.Version = None,
    outputs: arguments.Outputs = None,
    profile: arguments.Profile = None,
    max_batch_size: arguments.MaxBatchSize = None,
    preferred_batch_size: arguments.PreferredBatchSize = None,
    queue_delay_ms: arguments.QueueDelay = None,
    queue_size: arguments.QueueSize = None,
    queue_timeout_s: arguments.QueueTimeout = None,
    bulk_queue_size: arguments.BulkQueueSize = None,
    bulk_queue_timeout_s: arguments.BulkQueueTimeout = None,
    length_seconds: arguments.LengthSeconds = None,
    instances: arguments.Instances = None,
    gpu: arguments.Gpu = None,
    threads: arguments.Threads = None,
    response_cache: arguments.ResponseCache = False,
    cuda_graphs: arguments.CudaGraphs = False,
    resource: arguments.Resource = None,
    resource_priority: arguments.ResourcePriority = None,
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
    """Write a bundle's artefact as a model of a Triton model repository, or check one."""
    from ...runtime.bundle.manifest import load_bundle
    from ...triton_repo.contract.options import PROFILES, ServingOptions, with_given
    from ...triton_repo.repository.write import write_repository
    from .report import announce, report_check

    if (folder is None) == (bundle is None):
        raise UsageError("name one bundle: muqrt repository BUNDLE, or --bundle BUNDLE.")
    if (output is None) == (check is None):
        raise UsageError("say what to do: --output MODELS writes it, --check MODELS checks it.")
    if (tensorrt or compute_capability) and check is None:
        raise UsageError("--tensorrt and --compute-capability go with --check.")
    if (max_streams or idle_seconds or hop_seconds or window_seconds) and not stream:
        raise UsageError("limits, hop and window of streams go with --stream.")
    loaded = load_bundle(folder or bundle or Path())
    if check is not None:
        report_check(check, loaded, tensorrt, compute_capability, allow_uncertified, as_json)
        return
    assert output is not None
    begin = PROFILES[profile] if profile else ServingOptions()
    options = with_given(
        begin,
        {
            "outputs": [name.strip() for name in outputs.split(",")] if outputs else None,
            "max_batch_size": max_batch_size,
            "preferred_batch_sizes": preferred_batch_size or None,
            "max_queue_delay_us": _microseconds(queue_delay_ms, 1e3),
            "max_queue_size": queue_size,
            "queue_timeout_us": _microseconds(queue_timeout_s),
            "bulk_queue": _bulk_queue(begin, bulk_queue_size, bulk_queue_timeout_s),
            "lengths_seconds": length_seconds or None,
            "instances": instances,
            "gpus": gpu or None,
            "threads": threads,
            "version": version,
            "response_cache": response_cache or None,
            "cuda_graphs": cuda_graphs or None,
            "rate_limit": _rate_limit(resource or [], resource_priority),
        },
    )
    stream_options = {
        "max_streams": max_streams,
        "idle_seconds": idle_seconds,
        "hop_seconds": hop_seconds,
        "window_seconds": window_seconds,
        "instances": instances,
        "threads": threads,
    }
    chosen = loaded.artefact(artefact, allow_uncertified=allow_uncertified)
    streams = _write_streams(loaded, output, chosen, model, stream_options) if stream else None
    joint_options = {
        "text_artefact_name": text_artefact,
        "allow_uncertified": allow_uncertified,
        "options": options,
        "label_sets": label_sets,
    }
    joint = _write_joint(loaded, output, chosen, model, joint_options)
    report = write_repository(
        loaded,
        output,
        artefact,
        allow_uncertified=allow_uncertified,
        model_name=model,
        options=options,
    )
    announce(report, streams, joint, options, as_json)


def _write_streams(
    bundle: "Bundle", output: Path, artefact: "Artefact", model: str, given: dict[str, Any]
) -> "RepositoryReport":
    from ...triton_repo.contract.options import with_given
    from ...triton_repo.contract.stream import StreamOptions
    from ...triton_repo.repository.stream import write_stream_repository

    if artefact.engine == "tensorrt":
        raise UsageError("--stream is not for TensorRT; write it with another --artefact.")
    return write_stream_repository(
        bundle,
        output,
        artefact.name,
        allow_uncertified=True,  # or it would not have been chosen
        model_name=f"{model}_stream",
        options=with_given(StreamOptions(), given),
    )


def _write_joint(
    bundle: "Bundle", output: Path, artefact: "Artefact", model: str, given: dict[str, Any]
) -> "list[RepositoryReport]":
    """The models that know music and texts, where the artefact does."""
    from ...triton_repo.repository.mulan import JointNames, gives_latents, write_joint_repository

    if gives_latents(artefact):
        names = JointNames.beside(model)
        return write_joint_repository(bundle, output, artefact.name, names=names, **given)
    if given["text_artefact_name"] or given["label_sets"]:
        raise UsageError(
            "--text-artefact and --label-sets are for what music and texts share, and artefact "
            f"{artefact.name!r} gives no latents."
        )
    return []


def _microseconds(value: float | None, each: float = 1e6) -> int | None:
    return None if value is None else round(value * each)


def _bulk_queue(
    begin: "ServingOptions", size: int | None, timeout_s: float | None
) -> "QueuePolicy | None":
    """The profile's second queue with what was given; None if nothing was."""
    from ...triton_repo.contract.options import QueuePolicy, with_given

    given = {"max_size": size, "timeout_us": _microseconds(timeout_s)}
    if set(given.values()) == {None}:
        return None
    return with_given(begin.bulk_queue or QueuePolicy(), given)


def _rate_limit(resources: list[str], priority: int | None) -> "RateLimit | None":
    from ...triton_repo.contract.options import RateLimit

    if not resources:
        if priority is not None:
            raise UsageError("--resource-priority is a turn at a resource: name one (--resource).")
        return None
    counts = {}
    for text in resources:
        if (match := re.fullmatch(r"([\w.-]+):([1-9]\d{0,8})", text)) is None:
            raise UsageError(f"--resource {text}: write NAME:COUNT, as gpu:1.")
        counts[match[1]] = int(match[2])
    return RateLimit(counts, priority or 1)
