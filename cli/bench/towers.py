"""``muqrt bench towers``."""

import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ...benchmarks.style import markdown_table
from ...common.console import Json, progress, show, table
from ...common.files import atomic_file
from .model import require_extra

if TYPE_CHECKING:
    from ...benchmarks.towers.run import TowerReport

commands = typer.Typer()

_COLUMNS = ("input", "contender", "median, ms", "p10 to p90, ms", "times eager", "cosine", "rounds")
_NOTE = (
    "The contenders took turns in one process, with the same number of threads, after a first call "
    "each whose embeddings were compared with eager's. A turn is two calls, of which the second is "
    "timed. *times eager* is the median over the rounds of eager's seconds over the contender's. "
    "Features alone have no tower: the difference is what it costs."
)


@commands.command()
def bench_towers(
    bundle: Annotated[Path, typer.Argument(help="A MuQ-MuLan's, that muqrt export wrote.")],
    checkpoint: Annotated[str, typer.Option(help="The checkpoint the bundle was made from.")],
    threads: Annotated[
        int | None, typer.Option(min=1, help="CPU threads of each; all cores by default.")
    ] = None,
    rounds: Annotated[int, typer.Option(min=3, help="Of each contender.")] = 10,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Write NAME.json and NAME.md.", metavar="NAME"),
    ] = None,
    as_json: Json = False,
) -> None:
    """Measure a MuQ-MuLan's towers on a CPU, against PyTorch."""
    require_extra()
    from ...benchmarks.towers.run import TEXTS, run
    from ...runtime.bundle.manifest import load_bundle

    loaded = load_bundle(bundle)
    with progress("Benchmark", len(TEXTS) + 1) as bar:
        report = run(loaded, checkpoint, threads or os.cpu_count() or 1, rounds, bar.advance)
    title, rows = _table(report)
    busy = f"Other programs took {report.neighbours_share:.0%} of the cores' time meanwhile."
    written = [] if output is None else _write(report, output, busy)
    show(
        as_json,
        asdict(report),
        table(title, _COLUMNS, rows),
        busy,
        *(f"Wrote {path}" for path in written),
    )


def _table(report: "TowerReport") -> tuple[str, list[list[str]]]:
    rows = [
        [
            each.input,
            each.contender,
            f"{each.median_seconds * 1000:.3g}",
            f"{each.p10_seconds * 1000:.3g} to {each.p90_seconds * 1000:.3g}",
            f"{each.speedup:.2f}",
            "" if each.worst_cosine is None else f"{each.worst_cosine:.6f}",
            str(len(each.samples_seconds)),
        ]
        for each in report.times
    ]
    return f"Towers on {report.environment['cpu']}, threads: {report.threads}", rows


def _write(report: "TowerReport", output: Path, busy: str) -> list[Path]:
    title, rows = _table(report)
    where = markdown_table(["", ""], [[*each] for each in report.environment.items()])
    about = f"Checkpoint {report.checkpoint}, {report.created}. {busy}"
    page = [f"# {title}", about, markdown_table(_COLUMNS, rows), _NOTE, "## Where", where]
    texts = {
        output.with_name(output.name + ".json"): json.dumps(asdict(report), indent=2) + "\n",
        output.with_name(output.name + ".md"): "\n\n".join(page) + "\n",
    }
    for path, text in texts.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_file(path) as temporary:
            temporary.write_text(text, encoding="utf-8")
    return [*texts]
