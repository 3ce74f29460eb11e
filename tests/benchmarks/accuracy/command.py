"""``muqrt evaluate``, and the manifests it reads."""

import json
from pathlib import Path
from typing import Any

from typer.testing import CliRunner, Result

from muqrt.cli.bench.evaluate import commands
from muqrt.errors import MuqrtError


def evaluate(*arguments: object) -> Result:
    return CliRunner().invoke(commands, ["evaluate", *map(str, arguments), "--threads", "1"])


def refused(result: Result, kind: type[MuqrtError]) -> str:
    """The message of a command that failed with this kind of error."""
    assert isinstance(result.exception, kind), result.output
    return str(result.exception)


def rows_of(manifest: Path) -> list[dict[str, Any]]:
    """A manifest's rows, with absolute paths."""
    rows = [json.loads(line) for line in manifest.read_text().splitlines()]
    return [{**row, "audio": str(manifest.parent / row["audio"])} for row in rows]


def write_rows(rows: list[dict[str, Any]], folder: Path) -> Path:
    path = folder / "manifest.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return path
