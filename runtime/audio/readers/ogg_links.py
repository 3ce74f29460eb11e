"""The links of an Ogg file: streams that follow one another, as a radio recorder writes them.

A reader of Ogg takes the first for the whole. Each is a file of its own, with its own rate and
channels.
"""

import re
from typing import NamedTuple

from .file_bytes import FileBytes

_MAGIC = re.compile(b"OggS")
_BEGINS = 2
_HEADER_BYTES, _MOST_SEGMENTS = 27, 255


class Link(NamedTuple):
    """A link's bytes, ``start`` to ``stop``; ``junk_bytes`` of them are outside its pages."""

    start: int
    stop: int
    junk_bytes: int


def find_links(data: FileBytes) -> list[Link]:
    """The links of a file, in order; none if it is not Ogg."""
    if not _MAGIC.match(data.at(0, 4)):
        return []
    links: list[Link] = []
    start = position = 0
    junk, in_heads = 0, True
    while position < data.size:
        page = data.at(position, _HEADER_BYTES + _MOST_SEGMENTS)
        size_bytes = _page_bytes(page)
        if size_bytes is None:
            following = next(data.find_all(_MAGIC, position + 1), data.size)
            if following < data.size:
                junk += following - position
            position = following
            continue
        begins = bool(page[5] & _BEGINS)
        if begins and not in_heads:
            links.append(Link(start, position, junk))
            start, junk = position, 0
        in_heads = begins
        position += size_bytes
    return [*links, Link(start, data.size, junk)]


def _page_bytes(page: bytes) -> int | None:
    if len(page) < _HEADER_BYTES or not _MAGIC.match(page):
        return None
    segments = page[26]
    return _HEADER_BYTES + segments + sum(page[_HEADER_BYTES : _HEADER_BYTES + segments])
