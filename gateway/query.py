"""The arguments in a request's query."""

from collections.abc import Collection, Mapping
from urllib.parse import parse_qsl

from ..triton_repo.front.asgi import RefusedError

_MOST_ARGUMENTS = 1_024  # the head has a limit in bytes
# The least and the most.
Range = tuple[float, float]


def arguments(
    query: bytes, known: Collection[str], repeatable: str | None = None
) -> tuple[dict[str, str], list[str]]:
    """The arguments by name, and all values of the one that may be repeated.

    Raises:
        RefusedError: the query is malformed, or has an unknown or a repeated argument.
    """
    try:
        given = parse_qsl(
            query.decode("ascii"),
            keep_blank_values=True,
            strict_parsing=bool(query),
            errors="strict",
            max_num_fields=_MOST_ARGUMENTS,
        )
    except ValueError as error:
        raise RefusedError(400, f"the query is malformed ({error})") from None
    found: dict[str, str] = {}
    values: list[str] = []
    for name, value in given:
        if name == repeatable:
            values.append(value)
            continue
        if name not in known or name in found:
            names = ", ".join(sorted([*known, *([repeatable] if repeatable else [])])) or "none"
            raise RefusedError(400, f"{name[:100]!r}: unknown, or given twice; known are: {names}")
        found[name] = value
    return found, values


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
