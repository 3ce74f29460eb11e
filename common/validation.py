"""One line about what pydantic has refused."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydantic import ValidationError


def first_problem(error: "ValidationError", whole: str = "") -> str:
    """The first error as "where: what is wrong"; ``whole`` names the document itself."""
    first = error.errors()[0]
    where = ".".join(map(str, first["loc"])) or whole
    return f"{where}: {first['msg']}" if where else first["msg"]
