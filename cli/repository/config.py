"""The options of ``muqrt repository``: a profile's, a file's and the command line's, in one."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic.dataclasses import dataclass

from ...common.config import read_toml, with_config
from ...errors import UsageError
from ...triton_repo.contract.options import PROFILES, ServingOptions
from ...triton_repo.contract.stream import StreamOptions


@dataclass(frozen=True)
class RepositoryOptions(ServingOptions):
    """What ``muqrt repository --config`` reads: what to serve, and how.

    Attributes:
        artefact: the artefact to serve; the first certified one when None.
        allow_uncertified: serve artefacts without a passing certificate.
        model: the model's name on the server.
        profile: serving options to start from.
        stream: how live streams are served; they are not when None.
        track: whether encoded files are served.
        text_artefact: a MuQ-MuLan's artefact for texts; the first certified one when None.
        label_sets: folder of label sets on the server's machine; in the model when None.
    """

    artefact: str | None = None
    allow_uncertified: bool = False
    model: str = "muq"
    profile: Literal["latency", "throughput", "cpu"] | None = None
    stream: StreamOptions | None = None
    track: bool = False
    text_artefact: str | None = None
    label_sets: Path | None = None


def repository_options(
    path: Path | None, flags: Mapping[str, Any], stream: bool, stream_flags: Mapping[str, Any]
) -> RepositoryOptions:
    """The options in a file, over a profile's; the flags that were given win.

    Args:
        path: a TOML file, if there is one.
        flags: values of ``RepositoryOptions``, and ``max_seconds`` of its limits; one that is None
            was not given.
        stream: whether to serve live streams even if the file does not say so.
        stream_flags: values of ``StreamOptions``, likewise.

    Raises:
        UsageError: the file cannot be read, a value is not allowed, or options of streams are
            given without streams.
    """
    table = read_toml(path) if path is not None else {}
    given = {name: value for name, value in flags.items() if value is not None}
    if (longest := given.pop("max_seconds", None)) is not None:
        given["limits"] = {**table.get("limits", {}), "max_seconds": longest}
    of_stream = {name: value for name, value in stream_flags.items() if value is not None}
    if stream or "stream" in table:
        shared = {each: given.get(each, table.get(each)) for each in ("instances", "threads")}
        shared = {name: value for name, value in shared.items() if value is not None}
        given["stream"] = {**shared, **table.get("stream", {}), **of_stream}
    elif of_stream:
        raise UsageError("limits, hop and window of streams go with --stream.")
    profile = PROFILES.get(str(given.get("profile", table.get("profile"))), ServingOptions())
    start = {name: value for name, value in vars(profile).items() if name not in table}
    return with_config(RepositoryOptions, path, {**start, **given})
