"""Random damage to files: bytes flipped, cut and doubled, JSON with values of other kinds."""

import json
import random
import resource
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from muqrt.errors import MuqrtError

LIMIT_SECONDS = 10
LIMIT_KB = 600_000  # above what the process has before

few_or_many = pytest.mark.parametrize("cases", [30, pytest.param(1000, marks=pytest.mark.full)])


@contextmanager
def limited() -> Iterator[None]:
    """Fail a case that takes longer than it may."""

    def late(number: int, frame: object) -> None:
        raise TimeoutError(f"longer than {LIMIT_SECONDS} s")

    previous = signal.signal(signal.SIGALRM, late)
    signal.alarm(LIMIT_SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, previous)


def refused_or_read(cases: int, try_one: Callable[[random.Random], None]) -> dict[str, int]:
    """Try this many cases; how many were refused and how many could be read all the same."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    counts = {"refused": 0, "read": 0}
    for seed in range(cases):
        try:
            with limited():
                try_one(random.Random(seed))
            counts["read"] += 1
        except MuqrtError as error:
            assert "\n" not in str(error), f"seed {seed}"
            counts["refused"] += 1
        except Exception as error:
            raise AssertionError(f"seed {seed}: {type(error).__name__}: {error}") from error
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < LIMIT_KB
    print(cases, "cases:", counts)
    return counts


_NUMBERS = [None, True, -1, 0, 1, 7, 0.5, 1e308, float("nan"), 2**31, 10**9, 10**12, 2**63, 10**40]
_VALUES = [*_NUMBERS, "", "x", "../x", "/etc/passwd", "\x00", "x" * 10_000, [], [[]], {}, {"a": 1}]


def damaged_bytes(data: bytes, chance: random.Random) -> bytes:
    """The bytes after a few small accidents."""
    found = bytearray(data)
    for _ in range(chance.randint(1, 4)):
        start = chance.randrange(len(found) + 1)
        end = min(len(found), start + chance.choice([1, 1, 4, 64, 4096]))
        match chance.randrange(6):
            case 0:
                found[start:end] = chance.randbytes(end - start)
            case 1:
                del found[start:]
            case 2:
                del found[start:end]
            case 3:
                found[start:start] = found[start:end]
            case 4:
                found[start:start] = chance.randbytes(chance.choice([1, 8, 200]))
            case 5:
                found[start:end] = bytes(end - start)
    return bytes(found)


def damaged_json(document: Any, chance: random.Random) -> bytes:
    """A JSON document of which a few values are of another kind, gone, or in one place more."""
    document = json.loads(json.dumps(document))
    for _ in range(chance.randint(1, 3)):
        places = list(_places(document))
        if not places:
            break
        holder, key = chance.choice(places)
        match chance.randrange(5):
            case 0 | 1:
                holder[key] = chance.choice(_VALUES)
            case 2:
                del holder[key]
            case 3:
                other, name = chance.choice(places)
                if name in other if isinstance(other, dict) else name < len(other):
                    holder[key] = json.loads(json.dumps(other[name]))
            case 4:
                levels = chance.choice([5, 100, 20_000])
                marked = "nested here"
                holder[key] = marked
                nested = "[" * levels + "]" * levels
                return json.dumps(document).replace(f'"{marked}"', nested).encode()
    return json.dumps(document).encode()


def damaged(data: bytes, chance: random.Random) -> bytes:
    """A file's bytes after damage; JSON is mostly still JSON."""
    try:
        document = json.loads(data)
    except ValueError:
        return damaged_bytes(data, chance)
    if chance.random() < 0.25:
        return damaged_bytes(data, chance)
    return damaged_json(document, chance)


def _places(document: Any) -> Any:
    items = document.items() if isinstance(document, dict) else enumerate(document)
    for key, value in items:
        yield document, key
        if isinstance(value, (dict, list)):
            yield from _places(value)
