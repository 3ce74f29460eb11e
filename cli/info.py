"""``muqrt info``."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..common.console import Json, Table, progress, show
from ..errors import MissingDependencyError, SessionError, UsageError
from ..runtime.bundle.shipped import SHIPPED_BUNDLE
from .options import (
    AUTO,
    Accuracy,
    Precision,
    Threads,
    UsualBundle,
    accuracy_of,
    thread_count,
)

if TYPE_CHECKING:
    from ..runtime.bundle.manifest import Bundle

commands = typer.Typer()


@commands.command()
def info(
    bundle: UsualBundle = SHIPPED_BUNDLE,
    precision: Precision = None,
    accuracy: Accuracy = None,
    threads: Threads = AUTO,
    memory: Annotated[
        bool,
        typer.Option(
            "--memory", help="Also measure the memory that each artefact takes on this machine."
        ),
    ] = False,
    as_json: Json = False,
) -> None:
    """Show what is in a bundle, and check every hash.

    With --precision auto also which artefact is the fastest on this machine, and why; with --memory
    what each takes.
    """
    from ..runtime.bundle.manifest import load_bundle
    from ..runtime.fastest import fastest
    from ..runtime.parity.stored import Answers

    least = accuracy_of(precision, accuracy)
    if least is None and not memory and threads != AUTO:
        raise UsageError("--threads goes with --precision auto or --memory.")
    loaded = load_bundle(bundle)
    for artefact in loaded.artefacts:
        loaded.verify(artefact)
    if loaded.answers is not None:
        Answers(loaded)  # its hash is checked there
    found = None
    if least is not None:
        with progress("Measuring artefacts", None):
            found = fastest(loaded, least, thread_count(threads))
    taken = _memory(loaded, thread_count(threads)) if memory else {}
    rows = [
        [
            artefact.name,
            artefact.engine,
            artefact.precision,
            artefact.level,
            ", ".join(spec.name for spec in artefact.outputs),
            f"{loaded.size_bytes(artefact) / 1e6:.1f}",
            "yes" if artefact.certified else "NO",
        ]
        for artefact in loaded.artefacts
    ]
    columns = ["artefact", "engine", "precision", "level", "outputs", "MB", "certified"]
    show(
        as_json,
        loaded.model_dump()
        | ({} if found is None else {"fastest": found.document})
        | ({"memory": taken} if memory else {}),
        f"{loaded.source.checkpoint}: {loaded.source.parameters / 1e6:.1f}M parameters, "
        f"{loaded.framing.steps_per_second:g} features a second, windows of "
        f"{loaded.framing.window_seconds:g} s",
        Table(str(bundle), columns, rows),
        *(
            f"{artefact.name}: {artefact.quantization.summary()}"
            for artefact in loaded.artefacts
            if artefact.quantization is not None
        ),
        *(
            f"{artefact.name}: {artefact.plan.summary()}"
            for artefact in loaded.artefacts
            if artefact.plan is not None
        ),
        *(
            line
            for meaning in loaded.meanings.values()
            for line in meaning.summary(loaded.framing.sample_rate_hz)
        ),
        "" if found is None else found.why,
        *(_line(name, facts, loaded.framing.window_seconds) for name, facts in taken.items()),
    )


def _memory(bundle: "Bundle", threads: int | None) -> dict[str, dict[str, Any]]:
    """What each certified artefact for audio takes, or why it could not be measured."""
    from ..runtime.memory.measure import measure
    from ..runtime.memory.work import Request, Work

    found: dict[str, dict[str, Any]] = {}
    certified = [each.name for each in bundle.audio_artefacts if each.certified]
    with progress("Measuring memory", len(certified)) as bar:
        for name in certified:
            bar.advance(name)
            try:
                taken = measure(Request(Work("features"), str(bundle.folder), name, threads))
            except (MissingDependencyError, SessionError) as error:
                found[name] = {"error": str(error)}
                continue
            found[name] = {
                "loaded_mb": taken.loaded_bytes / 1e6,
                "peak_mb": taken.peak_bytes / 1e6,
            }
    return found


def _line(name: str, memory: dict[str, Any], window_seconds: float) -> str:
    if "error" in memory:
        return f"{name}: memory not measured: {memory['error']}"
    return (
        f"{name}: {memory['loaded_mb']:.0f} MB of memory once it is loaded, "
        f"{memory['peak_mb']:.0f} MB at most with windows of {window_seconds:g} s, one at once, "
        "libraries included."
    )
