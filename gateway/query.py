"""The arguments in a request's query."""

from collections.abc import Collection, Mapping
from urllib.parse import parse_qsl

from ..triton_repo.front.asgi import RefusedError

_MOST_ARGUMENTS = 16
# The least and the most.
Range = tuple[float, float]


def arguments(query: bytes, known: Collection[str]) -> dict[str, str]:
    """The arguments by name; raises RefusedError for unknown and repeated ones."""
    try:
        given = parse_qsl(
            query.decode("ascii"),
            keep_blank_values=True,
            strict_parsing=bool(query),
            max_num_fields=_MOST_ARGUMENTS,
        )
    except ValueError as error:
        raise RefusedError(400, f"the query is malformed ({error})") from None
    found: dict[str, str] = {}
    for name, value in given:
        if name not in known or name in found:
            names = ", ".join(sorted(known)) or "none"
            raise RefusedError(400, f"{name[:100]!r}: unknown, or given twice; known are: {names}")
        found[name] = value
    return found


def numbers(given: Mapping[str, str], ranges: Mapping[str, Range]) -> dict[str, float]:
    """Those arguments that are numbers; raises RefusedError for one out of its range."""
    found: dict[str, float] = {}
    for name, (least, most) in ranges.items():
        if name not in given:
            continue
        try:
            number = float(given[name])
        except ValueError:
            number = least - 1
        if not least <= number <= most:
            raise RefusedError(400, f"{name}: must be a number from {least:g} to {most:g}")
        found[name] = number
    return found
