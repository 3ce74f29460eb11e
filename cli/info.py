"""``muqrt info``."""

import typer

from ..common.console import Json, Table, progress, show
from ..errors import UsageError
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

commands = typer.Typer()


@commands.command()
def info(
    bundle: UsualBundle = SHIPPED_BUNDLE,
    precision: Precision = None,
    accuracy: Accuracy = None,
    threads: Threads = AUTO,
    as_json: Json = False,
) -> None:
    """Show what is in a bundle, and check every hash.

    With --precision auto also which artefact is the fastest on this machine, and why.
    """
    from ..runtime.bundle.manifest import load_bundle
    from ..runtime.fastest import fastest
    from ..runtime.parity.stored import Answers

    least = accuracy_of(precision, accuracy)
    if least is None and threads != AUTO:
        raise UsageError("--threads goes with --precision auto.")
    loaded = load_bundle(bundle)
    for artefact in loaded.artefacts:
        loaded.verify(artefact)
    if loaded.answers is not None:
        Answers(loaded)  # its hash is checked there
    found = None
    if least is not None:
        with progress("Measuring artefacts", None):
            found = fastest(loaded, least, thread_count(threads))
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
        loaded.model_dump() | ({} if found is None else {"fastest": found.document}),
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
    )
