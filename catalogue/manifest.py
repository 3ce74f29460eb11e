"""What a catalogue's tracks are called: folders, globs and lists, wherever they are."""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from ..common.environment import import_extra
from ..errors import UsageError
from ..runtime.audio.folder import scan_folder
from ..runtime.audio.suffixes import decodable_suffixes
from .storage import absolute, file_system, is_remote, retried

_LISTS = (".parquet", ".csv")
_GLOB = re.compile(r"[*?\[]")
# Of a list with several columns, the first of these that is there.
_USUAL_COLUMNS = ("audio", "key", "path", "url")


@dataclass
class Keys:
    """The tracks of a catalogue.

    Attributes:
        keys: their addresses, absolute, each once.
        repeated: how many more times they were named.
        skipped: files of folders that cannot be decoded here, or whose names are no text.
    """

    keys: list[str] = field(default_factory=list)
    repeated: int = 0
    skipped: list[str] = field(default_factory=list)


def find_keys(sources: Sequence[str], column: str | None = None) -> Keys:
    """The tracks that sources name: folders, globs, Parquet or CSV lists, or single files.

    Args:
        sources: paths or addresses such as s3://bucket/music. Relative paths in a list are relative
            to its folder.
        column: of a list: its column with the tracks; "audio", "key", "path" or "url", or its only
            one, when left out.

    Raises:
        UsageError: nothing is there, or a list that cannot be read.
    """
    found = Keys()
    seen: set[str] = set()
    for source in sources:
        before = len(seen) + found.repeated
        for key in _keys_of(source, column, found.skipped):
            if not _is_text(key):
                found.skipped.append(key)
            elif key in seen:
                found.repeated += 1
            else:
                seen.add(key)
                found.keys.append(key)
        if len(seen) + found.repeated == before:
            raise UsageError(f"{source}: no audio files found; name a folder, a glob or a list.")
    return found


def _keys_of(source: str, column: str | None, skipped: list[str]) -> Iterable[str]:
    address = absolute(source)
    suffix = PurePosixPath(address).suffix.lower()
    if suffix in _LISTS and not _GLOB.search(address):
        return _listed(address, suffix, column)
    if not is_remote(address) and Path(address).is_dir():
        contents = scan_folder(Path(address))
        skipped += map(str, contents.skipped)
        return map(str, contents.audio)
    if not is_remote(address) and Path(address).exists():
        return [address]
    if _GLOB.search(address):
        return _globbed(address)
    if not is_remote(address):
        raise UsageError(f"{source}: no such file or folder.")
    return _remote(address)


def _globbed(address: str) -> list[str]:
    files, path = file_system(address)
    found: dict[str, Any] = retried(address, lambda: files.glob(path, detail=True))
    names = sorted(name for name, facts in found.items() if facts["type"] == "file")
    return [files.unstrip_protocol(each) if is_remote(address) else each for each in names]


def _remote(address: str) -> list[str]:
    """A remote folder's audio, or the one file of this address."""
    if PurePosixPath(address).suffix.lower() in decodable_suffixes():
        return [address]
    files, path = file_system(address)
    names: list[str] = retried(address, lambda: files.find(path))
    suffixes = decodable_suffixes()
    audio = sorted(each for each in names if PurePosixPath(each).suffix.lower() in suffixes)
    return [files.unstrip_protocol(each) for each in audio]


def _listed(address: str, suffix: str, column: str | None) -> Iterator[str]:
    import_extra("catalogue", "pyarrow")
    import pyarrow
    from pyarrow import csv, parquet

    files, path = file_system(address)
    try:
        with retried(address, lambda: files.open(path, "rb")) as file:
            if suffix == ".parquet":
                opened = parquet.ParquetFile(file)
                name = _column(opened.schema_arrow.names, column, address)
                found = opened.read([name])[name]
            else:
                table = csv.read_csv(file)
                found = table[_column(table.column_names, column, address)]
    except FileNotFoundError:
        raise UsageError(f"{address}: no such list.") from None
    except (pyarrow.ArrowException, OSError) as error:
        raise UsageError(f"{address}: cannot be read as a {suffix} list ({error}).") from None
    if not pyarrow.types.is_string(found.type) and not pyarrow.types.is_large_string(found.type):
        raise UsageError(f"{address}: its column holds {found.type}, not paths or addresses.")
    folder = address.rsplit("/", 1)[0]
    for chunk in found.chunks:
        for key in chunk.to_pylist():
            if key:
                is_whole = key.startswith("/") or is_remote(key)
                yield key if is_whole else _beside(folder, key)


def _beside(folder: str, key: str) -> str:
    """A list's entry that is neither an absolute path nor an address in another storage."""
    return absolute(key) if "://" in key else f"{folder}/{key}"


def _column(names: Sequence[str], wanted: str | None, address: str) -> str:
    usual = _USUAL_COLUMNS if len(names) > 1 else tuple(names)
    for each in (wanted,) if wanted is not None else usual:
        if each in names:
            return each
    raise UsageError(
        f"{address}: no column {wanted or ' or '.join(usual)}; name the one with the tracks with "
        f"--column: {', '.join(names)}."
    )


def _is_text(key: str) -> bool:
    try:
        key.encode()
    except UnicodeEncodeError:
        return False
    return True
