"""A cache of text embeddings on disk, so that the text tower is opened only for new texts."""

import hashlib
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

import numpy as np

from ..bundle.manifest import load_bundle
from .encoder import open_text_encoder
from .labels import Embed
from .texts import Texts, as_texts

TEXTS_FILE = "texts.sqlite"  # its name in the user's cache
# Of 4 KB each on disk at a width of 512: 200 MB.
_MOST_TEXTS = 50_000
_ASKED_AT_ONCE = 500  # fewer than the variables that any SQLite allows in a statement
_CHECKSUM_BYTES = 8
_TABLE = "CREATE TABLE IF NOT EXISTS texts (key BLOB PRIMARY KEY, vector BLOB, used INTEGER)"


class TextCache:
    """Embeddings in an SQLite file, by the artefact and the text they are of.

    Nothing depends on it: damaged entries are computed again, and a cache that cannot be written is
    skipped. Beyond the limit, the least recently used texts are dropped.

    Args:
        path: of the file, made when there is something to keep.
        artefact_sha256: which artefact embeds.
    """

    def __init__(self, path: Path, artefact_sha256: str) -> None:
        self._path = path
        self._artefact_sha256 = artefact_sha256

    def embed(self, texts: Texts, embed: Embed) -> np.ndarray:
        """Every text's embedding, float32 (texts, width).

        Args:
            texts: at least one.
            embed: gives those of the texts that are not in the cache; not called without any.
        """
        texts = as_texts(texts)
        keys = [self._key(text) for text in texts]
        found = self._read(list(dict.fromkeys(keys)))
        missing = {key: text for key, text in zip(keys, texts, strict=True) if key not in found}
        if missing:
            new = dict(zip(missing, embed(list(missing.values())), strict=True))
            self._write(new)
            found |= new
        return np.stack([found[key] for key in keys])

    def _key(self, text: str) -> bytes:
        # What is no Unicode has a key too; it is for the tokenizer to refuse it.
        named = f"{self._artefact_sha256} {text}".encode("utf-8", "surrogatepass")
        return hashlib.sha256(named).digest()

    def _read(self, keys: Sequence[bytes]) -> dict[bytes, np.ndarray]:
        found: dict[bytes, np.ndarray] = {}
        if not self._path.is_file():
            return found
        with self._forgiven(), closing(sqlite3.connect(self._path)) as database:
            for start in range(0, len(keys), _ASKED_AT_ONCE):
                some = keys[start : start + _ASKED_AT_ONCE]
                among = f"WHERE key IN ({', '.join('?' * len(some))})"
                for key, blob in database.execute(f"SELECT key, vector FROM texts {among}", some):
                    vector, checksum = blob[:-_CHECKSUM_BYTES], blob[-_CHECKSUM_BYTES:]
                    if checksum == _checksum(key, vector):
                        found[key] = np.frombuffer(vector, "<f4")
                with database:
                    database.execute(f"UPDATE texts SET used = ? {among}", [_now(), *some])
        return found

    def _write(self, new: Mapping[bytes, np.ndarray]) -> None:
        with self._forgiven():
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with closing(sqlite3.connect(self._path)) as database, database:
                database.execute(_TABLE)
                rows = ((key, _blob(key, vector), _now()) for key, vector in new.items())
                database.executemany("INSERT OR REPLACE INTO texts VALUES (?, ?, ?)", rows)
                oldest = "SELECT key FROM texts ORDER BY used DESC LIMIT -1 OFFSET ?"
                database.execute(f"DELETE FROM texts WHERE key IN ({oldest})", [_MOST_TEXTS])

    @contextmanager
    def _forgiven(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.OperationalError, OSError):
            pass  # locked, read-only, a full disk
        except sqlite3.DatabaseError:  # not a database, or no longer
            self._path.unlink(missing_ok=True)


def embed_texts(
    folder: Path,
    texts: Texts,
    artefact: str | None = None,
    threads: int | None = None,
    cache: Path | None = None,
    on_texts: Callable[[int], None] = lambda count: None,
) -> np.ndarray:
    """Texts' embeddings by a bundle, float32 (texts, width), of length one.

    Args:
        folder: the bundle.
        texts: at least one.
        artefact: its text tower's name; the first certified one when left out.
        threads: for the text tower's engine.
        cache: file of a ``TextCache``; the text tower is opened only for what is not in it.
        on_texts: called with how many more are computed.
    """

    def embed(missing: Sequence[str]) -> np.ndarray:
        with open_text_encoder(folder, artefact, threads) as encoder:
            return encoder.encode(missing, on_texts)

    texts = as_texts(texts)
    if cache is None:
        return embed(texts)
    chosen = load_bundle(folder).artefact(artefact, tower="text")
    return TextCache(cache, chosen.digest).embed(texts, embed)


def _blob(key: bytes, vector: np.ndarray) -> bytes:
    data = vector.astype("<f4").tobytes()
    return data + _checksum(key, data)


def _checksum(key: bytes, vector: bytes) -> bytes:
    return hashlib.blake2b(key + vector, digest_size=_CHECKSUM_BYTES).digest()


def _now() -> int:
    return int(time.time())
