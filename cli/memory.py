"""``--max-memory``: a limit for what a command takes."""

import re
from typing import TYPE_CHECKING, Annotated

import typer

from ..common.console import note, progress
from ..errors import UsageError

if TYPE_CHECKING:
    from ..runtime.memory.limit import Fit
    from ..runtime.memory.work import Request

_SIZE = re.compile(r"(\d+(?:\.\d+)?) ?(MB|GB|MiB|GiB)", re.ASCII | re.IGNORECASE)
_UNIT_BYTES = {"mb": 10**6, "gb": 10**9, "mib": 2**20, "gib": 2**30}

MaxMemory = Annotated[
    str | None,
    typer.Option(
        metavar="SIZE",
        rich_help_panel="Where the model runs",
        help="Most memory to take, such as 500MB or 1.5GB: fewer windows at once and less audio "
        "decoded ahead, as measured once on this machine.",
    ),
]


def size_bytes(text: str | None) -> int | None:
    """What ``--max-memory`` means.

    Raises:
        UsageError: no size.
    """
    if text is None:
        return None
    found = _SIZE.fullmatch(text.strip())
    if found is None:
        raise UsageError(f"--max-memory {text!r}: give a size such as 500MB, 1.5GB or 512MiB.")
    return round(float(found[1]) * _UNIT_BYTES[found[2].lower()])


def fitted(request: "Request", most_bytes: int) -> "Fit":
    """What fits the limit, measured with a progress bar; says so where it is less than wanted.

    Raises:
        UsageError: not even one window at once fits.
    """
    from ..runtime.memory.limit import fit

    with progress("Measuring memory", None):
        found = fit(request, most_bytes)
    if found.batch_size < request.batch_size:
        note(f"--max-memory: windows at once: {found.batch_size}, not {request.batch_size}.")
    return found
