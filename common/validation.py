"""What pydantic found wrong, in one line."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydantic import ValidationError


def first_problem(error: "ValidationError", whole: str = "") -> str:
    """The first thing that is wrong, as "field.item: message".

    Args:
        error: what pydantic raised.
        whole: name for what was validated, for problems that are of no single field.
    """
    first = error.errors()[0]
    where = ".".join(map(str, first["loc"])) or whole
    message = first["msg"].removeprefix("Value error, ")
    return f"{where}: {message}" if where else message
