"""Search among many embeddings, exactly and with an IVF-PQ: time, recall and memory.

The rows are embeddings of real music, mixed in pairs and with some noise: random ones have no near
neighbours, and flatter or damn any index. Building and asking are each measured in a process of its
own, with its peak memory.
"""

import json
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from ..catalogue.manifest import find_keys
from ..common.process.fresh import fresh_process
from ..common.process.resident import peak_rss_bytes
from ..runtime.audio.read import load as load_audio
from ..runtime.load import load
from ..runtime.search.index import SearchIndex, open_index
from ..runtime.search.table import index_facts, index_schema, write_index
from .measure.report import Report, Section
from .measure.timing import spread

TOP = 10
_CROP_SECONDS, _HOP_SECONDS = 3.0, 0.5
_NOISE = 0.05  # of an embedding's length
_ROWS_AT_ONCE = 16_384
_QUERIES, _QUERY_SEED = 100, 1 << 32
_ARTEFACT = "0" * 64


@dataclass(frozen=True)
class Measured:
    """An index of so many rows.

    Attributes:
        rows, bytes: how many, and of their embeddings.
        build_seconds, build_peak_bytes: of the IVF-PQ, with the choice of its probes.
        probes: partitions that are searched; 0 if none of the numbers tried is enough, and what is
            called approximate is exact.
        recall_at_10: of queries that are not in the table, against the exact search.
        first_seconds: an exact query, in a process that has not asked any.
        exact_seconds, approximate_seconds: one a query.
        query_peak_bytes: of the process that asks.
    """

    rows: int
    bytes: int
    build_seconds: float
    build_peak_bytes: int
    probes: int
    recall_at_10: float
    first_seconds: float
    exact_seconds: list[float]
    approximate_seconds: list[float]
    query_peak_bytes: int


@dataclass(frozen=True, kw_only=True)
class SearchReport(Report):
    """The figures.

    Attributes:
        embeddings, width: the real ones that the rows are made of, and their dimensions.
        indices: one for each number of rows.
    """

    embeddings: int
    width: int
    indices: list[Measured]

    def results(self) -> list[Section]:
        """Two tables, a row for each index."""
        asked, built = [], []
        for each in self.indices:
            exact, about = spread(each.exact_seconds), spread(each.approximate_seconds)
            size = [str(each.rows), f"{each.bytes / 1e6:.0f}"]
            saved = exact.median - about.median
            asked.append(
                [
                    *size,
                    *(f"{1e3 * seconds:.1f}" for seconds in (exact.median, exact.p99)),
                    *(f"{1e3 * seconds:.1f}" for seconds in (about.median, about.p99)),
                    f"{each.recall_at_10:.1%}" if each.probes else "exact",
                ]
            )
            built.append(
                [
                    *size,
                    f"{each.build_seconds:.1f}",
                    str(each.probes),
                    f"{each.build_seconds / saved:.0f}" if saved > 0 else "never",
                    f"{each.build_peak_bytes / 1e6:.0f}",
                    f"{each.query_peak_bytes / 1e6:.0f}",
                ]
            )
        of = f"{self.embeddings} embeddings of {self.width} dimensions, perturbed"
        return [
            Section(
                f"Queries for the nearest {TOP}: {of}",
                ("rows", "MB", "exact, ms", "p99", "IVF-PQ, ms", "p99", f"recall@{TOP}"),
                asked,
            ),
            Section(
                "The IVF-PQ",
                ("rows", "MB", "built, s", "probes", "pays after queries", "peak, MB", "asking"),
                built,
            ),
        ]


def measure(audio: Path, sizes: Sequence[int], on_step: Callable[[], None]) -> SearchReport:
    """Write, build and ask an index of each size.

    Args:
        audio: folder of the music whose embeddings the rows are made of.
        sizes: numbers of rows.
        on_step: called after each size.
    """
    real = _real_embeddings(audio)
    indices = []
    for rows in sizes:
        with tempfile.TemporaryDirectory() as name:
            home = Path(name)
            np.save(home / "real.npy", real)
            width = real.shape[1]
            _write(home / "index", real, rows)
            request = {"home": name, "width": width}
            module = f"{__package__}.search"
            _, built = fresh_process(module, "building", {**request, "step": "build"})
            _, asked = fresh_process(module, "asking", {**request, "step": "ask"})
            indices.append(Measured(rows=rows, bytes=rows * width * 4, **built, **asked))
            on_step()
    return SearchReport(embeddings=len(real), width=real.shape[1], indices=indices)


def _real_embeddings(audio: Path) -> np.ndarray:
    """The embeddings of overlapping crops of some music, float32 (crops, width)."""
    found = []
    with load() as model:
        rate_hz = model.framing.sample_rate_hz
        crop, hop = int(_CROP_SECONDS * rate_hz), int(_HOP_SECONDS * rate_hz)
        for key in find_keys([str(audio)]).keys:
            samples = load_audio(key, rate_hz)
            for start in range(0, len(samples) - crop + 1, hop):
                found.append(model.embed(samples[start : start + crop], rate_hz))
    return np.stack(found)


def perturbed(real: np.ndarray, rows: int, seed: int) -> np.ndarray:
    """Rows made of real embeddings, float32 (rows, width): mixtures of two, with some noise."""
    generator = np.random.default_rng(seed)
    one, other = generator.integers(0, len(real), (2, rows))
    share = generator.uniform(0.5, 1, (rows, 1)).astype(np.float32)
    mixed = share * real[one] + (1 - share) * real[other]
    noise = generator.standard_normal(mixed.shape, np.float32)
    scale = _NOISE * np.linalg.norm(mixed, axis=1, keepdims=True) / np.sqrt(real.shape[1])
    return np.float32(mixed + scale * noise)


def _write(folder: Path, real: np.ndarray, rows: int) -> None:
    import pyarrow

    facts = index_facts(_ARTEFACT, real.shape[1])
    schema = index_schema(facts)

    def batches() -> Iterator[Any]:
        for start in range(0, rows, _ROWS_AT_ONCE):
            count = min(_ROWS_AT_ONCE, rows - start)
            flat = pyarrow.array(perturbed(real, count, start).ravel())
            names = [str(row).encode() for row in range(start, start + count)]
            columns = {
                "path": pyarrow.array(names, pyarrow.binary()),
                "size_bytes": pyarrow.array(np.zeros(count, np.int64)),
                "mtime_ns": pyarrow.array(np.zeros(count, np.int64)),
                "sha256": pyarrow.nulls(count, pyarrow.string()),
                "error": pyarrow.nulls(count, pyarrow.string()),
                "embedding": pyarrow.FixedSizeListArray.from_arrays(flat, real.shape[1]),
            }
            yield from pyarrow.table(columns).cast(schema).to_batches()

    write_index(folder, facts, batches(), "benchmark")


def _step(request: dict[str, Any]) -> dict[str, Any]:
    home = Path(request["home"])
    library = open_index(home / "index", _ARTEFACT, request["width"])
    if request["step"] == "build":
        start = perf_counter()
        library.approximate()
        return {"build_seconds": perf_counter() - start, "build_peak_bytes": peak_rss_bytes()}
    return {**_asked(library, np.load(home / "real.npy")), "query_peak_bytes": peak_rss_bytes()}


def _asked(library: SearchIndex, real: np.ndarray) -> dict[str, Any]:
    """Queries by turns; the first of each kind is for warming up."""
    seconds: dict[bool, list[float]] = {True: [], False: []}
    shares = []
    for query in perturbed(real, _QUERIES + 1, _QUERY_SEED):
        names = {}
        for exact in (True, False):
            start = perf_counter()
            found = library.nearest_names(query, TOP, exact=exact)
            seconds[exact].append(perf_counter() - start)
            names[exact] = {name for name, _ in found}
        shares.append(len(names[True] & names[False]) / TOP)
    about = library.approximation
    return {
        "probes": about.probes if about else 0,
        "recall_at_10": float(np.mean(shares)),
        "first_seconds": seconds[True][0],
        "exact_seconds": seconds[True][1:],
        "approximate_seconds": seconds[False][1:],
    }


if __name__ == "__main__":
    print(json.dumps(_step(json.loads(sys.argv[1]))))
