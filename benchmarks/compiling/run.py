"""Every graph for GPUs, compiled for every kind of GPU by TensorRT for RTX."""

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import gettempdir
from threading import Event

from ...common.files import partial_folder
from ...runtime.bundle.engine_options import RtxTarget
from ...runtime.engines.tensorrt.library import full_name, tensorrt_rtx
from ..measure.report import Report, Section, without_folders
from .graphs import GraphSource, Kind
from .outcome import Outcome, outcomes

_NOTE = (
    "Parsed by NVIDIA's ONNX parser and compiled ahead of time on the CPU, each graph alone and "
    "for one target; no GPU took part and nothing was run. The graphs are those of `muqrt build`, "
    "but for what it measures on music: scales are placeholders, and nothing stays in float32 for "
    "its range. *dynamic* takes batches of 1 to 32 of 0.043 to 30 s, *fixed* is one window of "
    "10 s. Seconds are processor time."
)


@dataclass(frozen=True)
class Row:
    """A graph and what became of it.

    Attributes:
        precision: the graph's.
        graph: what it computes.
        outcomes: by target and shapes.
    """

    precision: str
    graph: str
    outcomes: list[Outcome]


@dataclass(frozen=True, kw_only=True)
class CompileReport(Report):
    """One run of ``muqrt bench compile``.

    Attributes:
        compiler: its name and version.
        checkpoints: names and SHA-256 of what the graphs were written from.
        targets: the kinds of GPU.
        rows: by graph.
    """

    compiler: str
    checkpoints: dict[str, str]
    targets: list[RtxTarget]
    rows: list[Row]

    def results(self) -> list[Section]:
        """A row for each precision: how many compiled, in what time, to what size."""
        names = list(dict.fromkeys(each.precision for each in self.rows))
        table = [
            [name, *(_summary(self._of(name, target)) for target in self.targets)] for name in names
        ]
        title = f"Graphs that {self.compiler} compiles"
        return [Section(title, ("graphs in", *self.targets), table, _NOTE)]

    def remarks(self) -> list[str]:
        """Each refusal and each warning once, with how often."""
        found = [each for row in self.rows for each in row.outcomes]
        refusals = [each.refusal for each in found if each.refusal]
        warnings = [warning for each in found for warning in each.warnings]
        return [
            *_counted("Refused", map(_without_node, refusals)),
            *_counted("Warned", warnings),
        ]

    def details(self) -> list[Section]:
        """Every graph, once for each kind of shapes."""
        kinds = dict.fromkeys(each.shapes for row in self.rows for each in row.outcomes)
        return [self._all(shapes) for shapes in kinds]

    def _all(self, shapes: str) -> Section:
        table = []
        for row in self.rows:
            cells = {each.target: _cell(each) for each in row.outcomes if each.shapes == shapes}
            table.append([f"{row.precision}: {row.graph}", *(cells[t] for t in self.targets)])
        return Section(f"Every graph, {shapes} shapes", ("graph", *self.targets), table)

    def _of(self, precision: str, target: str) -> list[Outcome]:
        return [
            each
            for row in self.rows
            for each in row.outcomes
            if (row.precision, each.target) == (precision, target)
        ]


def compile_all(
    graphs: Sequence[tuple[GraphSource, Kind]],
    targets: Sequence[RtxTarget],
    jobs: int = 1,
    kept: Path | None = None,
    on_step: Callable[[str], None] = lambda what: None,
) -> CompileReport:
    """Write and compile graphs.

    Args:
        graphs: each with its source.
        targets: kinds of GPU.
        jobs: how many graphs are compiled at a time.
        kept: a file of finished graphs, which an interrupted run leaves and the next continues.
        on_step: called after each build, and for each that an earlier run did.

    Raises:
        MissingDependencyError: no TensorRT for RTX.
    """
    compiler = full_name(tensorrt_rtx())
    done, stopped = KeptRows(kept), Event()

    def built(source: GraphSource, kind: Kind) -> Iterator[Outcome]:
        with partial_folder(Path(gettempdir()) / "muqrt-graph") as folder:
            path = source.write(kind, folder)
            yield from outcomes(path, source.profiles(kind), targets, stopped)

    def row(source: GraphSource, kind: Kind) -> Row:
        key = [compiler, source.checkpoint.sha256, kind.form, kind.output, *targets]
        kept_row = done.get(key)
        found = []
        for outcome in built(source, kind) if kept_row is None else kept_row.outcomes:
            found.append(outcome)
            on_step(f"{kind.form} {kind.output} for {outcome.target}")
        if kept_row is None:
            done.put(key, Row(kind.form, kind.output, found))
        return Row(kind.form, kind.output, found)

    with ThreadPoolExecutor(jobs) as pool:
        try:
            rows = list(pool.map(row, *zip(*graphs, strict=True)))
        except BaseException:
            stopped.set()
            pool.shutdown(cancel_futures=True)
            raise
    done.remove()
    checkpoints = {source.checkpoint.name: source.checkpoint.sha256 for source, _ in graphs}
    names = without_folders(list(checkpoints))
    return CompileReport(
        compiler=compiler,
        checkpoints=dict(zip(names, checkpoints.values(), strict=True)),
        targets=list(targets),
        rows=rows,
    )


class KeptRows:
    """Finished rows in a file, a line of JSON each; None keeps none."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        lines = path.read_bytes().splitlines() if path is not None and path.exists() else []
        self._rows: dict[tuple[str, ...], Row] = {}
        for line in lines:
            with suppress(ValueError, KeyError, TypeError):  # it was not written whole
                key, row = _read(line)
                self._rows[key] = row

    def get(self, key: list[str]) -> Row | None:
        """The row that an earlier run wrote."""
        return self._rows.get(tuple(key))

    def put(self, key: list[str], row: Row) -> None:
        """Append a row."""
        if self._path is not None:
            with self._path.open("a") as file:  # the line before may not be whole
                file.write(f"\n{json.dumps([key, asdict(row)])}\n")

    def remove(self) -> None:
        """All is done."""
        if self._path is not None:
            self._path.unlink(missing_ok=True)


def _read(line: bytes) -> tuple[tuple[str, ...], Row]:
    key, row = json.loads(line)
    found = [Outcome(**{**each, "warnings": tuple(each["warnings"])}) for each in row["outcomes"]]
    return tuple(key), Row(row["precision"], row["graph"], found)


def _summary(found: Sequence[Outcome]) -> str:
    done = [each for each in found if not each.refusal]
    if not done:
        return "refused"
    seconds = sum(each.processor_seconds for each in done) / len(done)
    return f"{len(done)} of {len(found)}, {seconds:.1f} s each"


def _cell(found: Outcome) -> str:
    if found.refusal:
        return "refused"
    return f"{found.processor_seconds:.1f} s, {found.engine_bytes / 1e6:.1f} MB"


def _counted(what: str, messages: Iterable[str]) -> list[str]:
    return [f"{what} {times} times: {each}" for each, times in Counter(messages).most_common()]


def _without_node(message: str) -> str:
    """The first node that is refused differs from graph to graph; the reason does not."""
    return re.sub(r"operation '[^']*'", "operation ...", message)
