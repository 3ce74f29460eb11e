"""Many tracks' tokens in one file, .npz or Parquet, written track by track."""

import json
import zipfile
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np

from ...common.environment import import_extra
from ...common.files import atomic_file
from ...runtime.bundle.tokens import arrow_tokens
from .tasks import Save, Task

_ROW_GROUP_TRACKS = 100  # held in memory and written together


def is_archive(output: Path) -> bool:
    """Whether ``--output`` names one file for the results of many tracks."""
    return output.suffix in _WRITERS and not output.is_dir()


@contextmanager
def open_archive(path: Path, dtype: np.dtype, facts: dict[str, Any]) -> Iterator[Save]:
    """Yield a function that saves a task's tokens, (stages, steps), in the file.

    The file is written whole or not at all, and not at all if nothing was saved in it.

    Args:
        path: if it ends in .npz, the file has an array for each track, under its name. If it ends
            in .parquet, a row for each with ``audio``, its path, and ``tokens``, a list of stages
            that are lists of steps.
        dtype: the tokens' type in the file.
        facts: what the tokens are; a Parquet file has them as JSON in its metadata, under "muqrt".
    """
    saved = 0
    with suppress(_EmptyError), atomic_file(path) as temporary:
        with closing(_WRITERS[path.suffix](temporary, dtype, facts)) as writer:

            def save(task: Task, tokens: np.ndarray) -> None:
                nonlocal saved
                writer.add(task, tokens.astype(dtype))
                saved += 1

            yield save
        if not saved:
            raise _EmptyError


class _EmptyError(Exception):
    """Keeps an empty file from replacing an older one."""


class _Npz:
    def __init__(self, path: Path, dtype: np.dtype, facts: dict[str, Any]) -> None:
        self._file = zipfile.ZipFile(path, "w")

    def add(self, task: Task, tokens: np.ndarray) -> None:
        with self._file.open(f"{_text(task.name)}.npy", "w") as entry:
            np.lib.format.write_array(entry, tokens, allow_pickle=False)

    def close(self) -> None:
        self._file.close()


class _Parquet:
    def __init__(self, path: Path, dtype: np.dtype, facts: dict[str, Any]) -> None:
        import_extra("parquet", "pyarrow")
        import pyarrow
        import pyarrow.parquet

        self._arrow = pyarrow
        steps = pyarrow.list_(pyarrow.from_numpy_dtype(dtype))
        fields = [("audio", pyarrow.string()), ("tokens", pyarrow.list_(steps))]
        self._schema = pyarrow.schema(fields, metadata={"muqrt": json.dumps(facts)})
        self._file = pyarrow.parquet.ParquetWriter(path, self._schema, compression="zstd")
        self._rows: list[tuple[str, np.ndarray]] = []

    def add(self, task: Task, tokens: np.ndarray) -> None:
        self._rows.append((_text(task.audio), tokens))
        if len(self._rows) == _ROW_GROUP_TRACKS:
            self._write_rows()

    def close(self) -> None:
        if self._rows:
            self._write_rows()
        self._file.close()

    def _write_rows(self) -> None:
        audio, tokens = zip(*self._rows, strict=True)
        columns = [self._arrow.array(audio), arrow_tokens(tokens)]
        self._file.write_table(self._arrow.table(columns, schema=self._schema))
        self._rows.clear()


_WRITERS: dict[str, type[_Npz] | type[_Parquet]] = {".npz": _Npz, ".parquet": _Parquet}


def _text(path: Path) -> str:
    """A path as text; its bytes may be no valid text."""
    return str(path).encode("utf-8", "backslashreplace").decode()
