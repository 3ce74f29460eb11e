"""The collections of scores, and their pieces: each in one split."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from pydantic import ConfigDict, TypeAdapter

from ....common.config import read_toml
from ....errors import MissingDependencyError
from .midi import read_midi
from .notation import read_notation, tunes
from .score import Score
from .wad import midi_lumps

_SPLIT_OF = 20 * ("train",) + 2 * ("valid",) + 3 * ("test",)
_INSTALL = "Run: pip install 'muqrt[synth]'"
_KEPT = 256  # scores in memory


class UnreadableScoreError(Exception):
    """A piece cannot be read, or has no notes; another takes its place."""


@dataclass(frozen=True)
class Collection:
    """A collection: the fields of ``collections.toml``, where they are described."""

    __pydantic_config__ = ConfigDict(extra="forbid")

    work: str
    source: Literal["music21", "wad", "midi"]
    files: tuple[str, ...]
    package: str
    licence: str
    weight: float
    without: tuple[str, ...] = ()
    genre: str | None = None
    tempo: tuple[float, float] | None = None
    mode: bool = False
    ensembles: tuple[tuple[str, ...], ...] = ()


@dataclass(frozen=True)
class Piece:
    """A piece of a collection.

    Args:
        collection: its name.
        file: where it is.
        name: the piece's; the same on every machine.
        work: what it is a part of; a work is in one split.
        part: which tune or lump of the file, if not all of it.
    """

    collection: str
    file: str
    name: str
    work: str
    part: str = ""

    @property
    def split(self) -> str:
        """train, valid or test, by its work alone."""
        digest = hashlib.sha256(self.work.encode()).digest()
        return _SPLIT_OF[int.from_bytes(digest[:8], "big") % len(_SPLIT_OF)]


COLLECTIONS = TypeAdapter(dict[str, Collection]).validate_python(
    read_toml(Path(__file__).with_name("collections.toml"))
)


def installed() -> dict[str, Collection]:
    """The collections whose files are there.

    Raises:
        MissingDependencyError: music21 is not installed.
    """
    _corpus()
    return {name: found for name, found in COLLECTIONS.items() if pieces(name)}


def sources() -> dict[str, str]:
    """What the scores follow from: the installed collections, and versions or hashes of them."""
    found = {}
    for name, collection in installed().items():
        if collection.source == "music21":
            found[name] = f"music21 {version('music21')}"
        else:
            files = sorted({piece.file for piece in pieces(name)})
            content = b"".join(hashlib.sha256(Path(file).read_bytes()).digest() for file in files)
            found[name] = hashlib.sha256(content).hexdigest()
    return found


@cache
def pieces(name: str) -> tuple[Piece, ...]:
    """The pieces of a collection, no two alike; none where its package is not installed."""
    return tuple(_pieces(name, COLLECTIONS[name]))


@lru_cache(_KEPT)
def score(piece: Piece) -> Score:
    """A piece's score.

    Raises:
        UnreadableScoreError: it cannot be read, or has no notes.
    """
    source = COLLECTIONS[piece.collection].source
    path = Path(piece.file)
    try:
        if source == "music21":
            found = read_notation(path, int(piece.part) if piece.part else None)
        else:
            data = midi_lumps(path)[piece.part] if source == "wad" else path.read_bytes()
            found = read_midi(data)
    except Exception as error:  # the readers raise whatever a strange file leads them to
        raise UnreadableScoreError(f"{piece.name}: {error}") from error
    if not found.notes:
        raise UnreadableScoreError(f"{piece.name}: no notes.")
    return found


@cache
def pieces_of(name: str, split: str) -> tuple[Piece, ...]:
    """The pieces of a collection in one split."""
    return tuple(piece for piece in pieces(name) if piece.split == split)


def _pieces(name: str, collection: Collection) -> Iterator[Piece]:
    seen = set()
    for path, label in _files(collection):
        if collection.source == "wad":
            for lump, data in midi_lumps(path).items():
                digest = hashlib.sha256(data).digest()
                if digest not in seen:
                    seen.add(digest)
                    yield Piece(name, str(path), f"{label}#{lump}", f"{label}#{lump}", lump)
        elif path.suffix == ".abc":
            for tune in range(len(tunes(path))):
                yield Piece(name, str(path), f"{label}#{tune}", f"{label}#{tune}", str(tune))
        else:
            # The movements of a work lie in a folder of their own below the composer's.
            work = str(Path(label).parent) if label.count("/") > 1 else label
            yield Piece(name, str(path), label, work)


def _files(collection: Collection) -> list[tuple[Path, str]]:
    """The files that are there, each with a name that no machine's folders are part of."""
    if collection.source != "music21":
        return [(path, path.name) for path in map(Path, collection.files) if path.is_file()]
    root = _corpus()
    without = {root / each for each in collection.without}
    found = {p for each in collection.files for p in root.glob(each) if p not in without}
    return [(path, path.relative_to(root).as_posix()) for path in sorted(found)]


def _corpus() -> Path:
    found = find_spec("music21")
    if found is None or not found.origin:
        raise MissingDependencyError(f"music21 is needed for its scores. {_INSTALL}")
    return Path(found.origin).parent / "corpus"
