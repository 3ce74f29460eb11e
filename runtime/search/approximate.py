"""An IVF-PQ beside an index's embeddings: few of them are compared with a query, not all.

That misses some of the nearest. How many is measured when it is built, and stands in a file beside
the table.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ValidationError

from ...common.files import atomic_file
from ..bundle.record import Record

FACTS_FILE = "approximate.json"
COLUMN = "embedding"
# Of a query's ten nearest, so many have to be found on average.
LEAST_RECALL = 0.95
# The recall is measured with ten; who wants many more gets an exact search.
MOST_TOP = 100
_TOP, _QUERIES = 10, 100
# So many times as many rows as are wanted are compared exactly at the end.
_REFINED = 20
# Partitions that are searched, of about the square root of the rows.
_PROBES = (4, 8, 16, 32, 64, 128)
# Eight dimensions a byte; comparing the best ones exactly makes good what that loses.
_DIMENSIONS_PER_BYTE = 8
# Of k-means: a quarter of LanceDB's rows for each centre, and a fifth of its rounds. That takes a
# third of the processor time, for the same recall (of 100,000 rows 0.999, and 0.996 with its own).
_ROWS_PER_CENTRE, _ROUNDS = 64, 10
# It is built again when the number of rows has changed by this share.
_MOST_CHANGED = 0.2


class Approximation(Record):
    """What was built, and what it is worth.

    Attributes:
        rows: of the table at that time.
        probes: how many partitions are searched: the fewest that reach ``LEAST_RECALL``. 0 if none
            of the numbers tried does; search stays exact then.
        recall_at_10: the share of the ten nearest that is found with so many, or with the most that
            were tried.
        queries: how many of the table's own embeddings this was measured with, each without itself.
    """

    rows: int
    probes: int
    recall_at_10: float
    queries: int

    def fits(self, rows: int) -> bool:
        """Whether it need not be built again for a table of so many rows."""
        return abs(rows - self.rows) <= _MOST_CHANGED * self.rows


def read_approximation(folder: Path, table: Any) -> Approximation | None:
    """What was built for a table; None if nothing was, or not to the end."""
    if not table.list_indices():
        return None
    try:
        return Approximation.model_validate_json((folder / FACTS_FILE).read_bytes())
    except (FileNotFoundError, ValidationError):
        return None


def build_approximation(
    folder: Path, table: Any, on_step: Callable[[str], None] = lambda what: None
) -> Approximation:
    """Build an IVF-PQ, and choose by the recall how many of its partitions are searched.

    Args:
        folder: the index's.
        table: its LanceDB table.
        on_step: called with what comes next, twice.
    """
    from lancedb.index import IvfPq

    on_step("building")
    (folder / FACTS_FILE).unlink(missing_ok=True)
    parts = max(1, table.schema.field(COLUMN).type.list_size // _DIMENSIONS_PER_BYTE)
    config = IvfPq(
        distance_type="cosine",
        num_sub_vectors=parts,
        sample_rate=_ROWS_PER_CENTRE,
        max_iterations=_ROUNDS,
    )
    table.create_index(COLUMN, config=config)
    on_step("measuring")
    found = _measured(table)
    with atomic_file(folder / FACTS_FILE) as temporary:
        temporary.write_text(found.model_dump_json())
    return found


def nearest_query(table: Any, embedding: np.ndarray, top: int, probes: int = 0) -> Any:
    """LanceDB's query for the rows with the largest cosine; exact without probes."""
    query = table.search(embedding, vector_column_name=COLUMN).distance_type("cosine").limit(top)
    return query.nprobes(probes).refine_factor(_REFINED) if probes else query.bypass_vector_index()


def nearest_ids(table: Any, embedding: np.ndarray, top: int, probes: int = 0) -> list[int]:
    """The row ids that ``nearest_query`` finds, best first."""
    query = nearest_query(table, embedding, top, probes).select(["_distance"]).with_row_id(True)
    return list(query.to_arrow()["_rowid"].to_pylist())


def recall(found: list[list[int]], exact: list[list[int]]) -> float:
    """The share of the exact rows that was found, over all queries."""
    shares = [len({*a} & {*b}) / len(b) for a, b in zip(found, exact, strict=True)]
    return float(np.mean(shares))


def _measured(table: Any) -> Approximation:
    rows = table.count_rows()
    places = np.random.default_rng(0).choice(rows, min(_QUERIES, rows), replace=False)
    sample = table.take_offsets(places.tolist()).select([COLUMN]).to_arrow()[COLUMN]
    queries = [np.array(each, np.float32) for each in sample.to_pylist() if each is not None]

    def nearest(probes: int) -> list[list[int]]:
        # The first is the embedding itself.
        return [nearest_ids(table, each, 1 + _TOP, probes)[1:] for each in queries]

    exact, reached = nearest(0), 0.0
    for probes in _PROBES:
        reached = recall(nearest(probes), exact)
        if reached >= LEAST_RECALL:
            break
    else:
        probes = 0
    return Approximation(rows=rows, probes=probes, recall_at_10=reached, queries=len(queries))
