"""Fixed partitions of a manifest, named by what is in them."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Partition:
    """Some tracks that are computed together and written as one part.

    Attributes:
        name: a hash of its keys and of the job's digest.
        manifest: the file that lists its keys.
        row_group: where they stand in that file.
        tracks: how many.
    """

    name: str
    manifest: str
    row_group: int
    tracks: int


def partition_name(digest: str, manifest: str, keys: Sequence[str]) -> str:
    """The name that these keys have in a job of this digest, in this one of its manifests."""
    hashed = hashlib.sha256("\0".join((digest, manifest, *keys)).encode())
    return hashed.hexdigest()[:32]


def shard(partitions: Sequence[Partition], index: int, count: int) -> list[Partition]:
    """Every ``count``-th partition from ``index`` on: the share of one of ``count`` machines."""
    return list(partitions[index::count])
