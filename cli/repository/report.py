"""What ``muqrt repository`` prints: what it wrote, or what a check has found."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from ...common.console import Table, show

if TYPE_CHECKING:
    from ...runtime.bundle.manifest import Bundle
    from ...triton_repo.contract.options import ServingOptions
    from ...triton_repo.repository.write import RepositoryReport


def announce(
    report: "RepositoryReport",
    streams: "RepositoryReport | None",
    track: "RepositoryReport | None",
    joint: "list[RepositoryReport]",
    options: "ServingOptions",
    config: Path,
    as_json: bool,
) -> None:
    """Print what was written, and how to serve it."""
    written = [each for each in (report, streams, track, *joint) if each is not None]
    serve = f"muqrt serve {report.repository}"
    if options.response_cache:
        serve += " --cache-mib 256"
    if options.rate_limit is not None:
        serve += " --rate-limit"
    show(
        as_json,
        {
            **_facts(report),
            "stream": _facts(streams) if streams else None,
            **({"track": _facts(track)} if track else {}),
            "joint": [_facts(each) for each in joint],
        },
        *(
            f"Wrote {each.repository / each.model}: {each.artefact} ({each.precision}, "
            f"{'certified' if each.certified else 'NOT certified'}), "
            f"{each.size_bytes / 2**20:.1f} MiB."
            for each in written
        ),
        "It runs on the CPU, on a GPU server too; for GPUs: muqrt export --target any."
        if report.target == "cpu"
        else "",
        "Its queue has bounds or priorities, and then Triton may answer half a second late when it "
        "is not full: docs/how-to/serve.md, Overload."
        if options.may_stall
        else "",
        f"Options: {config}; write it again with --config.",
        f"Serve it with: {serve}",
    )


def report_check(
    models: Path,
    bundle: "Bundle",
    tensorrt: str | None,
    compute_capability: list[str] | None,
    allow_uncertified: bool,
    as_json: bool,
) -> None:
    """Check a repository and print what was found; the exit status is 1 if there are problems."""
    from ...triton_repo.contract.options import with_given
    from ...triton_repo.repository.check import check_repository
    from ...triton_repo.repository.machine import this_machine

    given = {
        "tensorrt": tensorrt,
        "compute_capabilities": tuple(compute_capability) if compute_capability else None,
    }
    machine = with_given(this_machine(), given)
    checks = check_repository(models, bundle, machine, allow_uncertified=allow_uncertified)
    rows = [
        [each.model, each.artefact or "-", each.files, "ok" if each.ok else "REFUSED"]
        for each in checks
    ]
    is_ok = all(each.ok for each in checks)
    show(
        as_json,
        {
            "repository": str(models),
            "bundle": str(bundle.folder),
            "ok": is_ok,
            "machine": asdict(machine),
            "models": [{**asdict(each), "ok": each.ok} for each in checks],
        },
        Table(f"{models} against {bundle.folder}", ["model", "artefact", "files", "result"], rows),
        *(f"{each.model}: {problem}" for each in checks for problem in each.problems),
        *(f"{each.model}: {note}." for each in checks for note in each.notes),
    )
    if not is_ok:
        raise typer.Exit(1)


def _facts(report: "RepositoryReport") -> dict[str, Any]:
    return {**asdict(report), "repository": str(report.repository)}
