"""The ``muqrt`` command: every room's commands, and exit codes for their errors.

0 done; 1 a gate failed (parity); 2 wrong usage; 3 bad input or a missing part.
"""

import errno
import signal
import sys
from typing import NoReturn

import typer

from .benchmarks.accuracy.commands import commands as accuracy
from .benchmarks.commands import commands as benchmarks
from .benchmarks.kernels.commands import commands as kernels
from .benchmarks.loadtest.commands import commands as loadtest
from .benchmarks.towers.commands import commands as towers
from .doctor import commands as doctor
from .embed import commands as embed
from .errors import MuqrtError
from .export.build_commands import commands as build
from .export.commands import commands as export
from .reference.synth.commands import commands as synth
from .reference.training.commands import commands as training
from .runtime.commands import commands as runtime
from .search import commands as search
from .stream import commands as stream
from .tag import commands as tag
from .tokens import commands as tokens
from .triton_repo.commands import commands as triton_repo

BAD_INPUT = 3
INTERRUPTED = 130

app = typer.Typer(
    help="Puts a trained MuQ into production: export, parity, serving.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
for room in (
    export,
    build,
    training,
    synth,
    runtime,
    embed,
    tag,
    search,
    stream,
    tokens,
    triton_repo,
    benchmarks,
    kernels,
    towers,
    loadtest,
    accuracy,
    doctor,
):
    app.add_typer(room)


def main() -> NoReturn:
    """Run the command line; users' mistakes become one line on stderr and an exit code."""
    # A stopped container cleans up as after Ctrl-C.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        app(prog_name="muqrt")
    except MuqrtError as error:
        _fail(str(error), error.exit_code)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EFBIG, errno.EDQUOT):
            where = f"{error.filename}: " if error.filename else ""
            _fail(f"{where}the disk is full; nothing was left half-written.", BAD_INPUT)
        _fail(str(error), BAD_INPUT)
    except KeyboardInterrupt:
        _fail("interrupted.", INTERRUPTED)
    sys.exit(0)


def _fail(message: str, code: int) -> NoReturn:
    print(f"muqrt: {message}", file=sys.stderr)
    sys.exit(code)
