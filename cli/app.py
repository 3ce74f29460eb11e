"""The ``muqrt`` command: every room's commands, and exit codes for their errors.

0 done; 1 a gate failed (parity); 2 wrong usage; 3 bad input or a missing part.
"""

import errno
import signal
import sys
from typing import NoReturn

import typer

from ..errors import MuqrtError
from .bench.evaluate import commands as accuracy
from .bench.kernels import commands as kernels
from .bench.loadtest import commands as loadtest
from .bench.model import commands as benchmarks
from .bench.towers import commands as towers
from .doctor import commands as doctor
from .embed import commands as embed
from .export.build import commands as build
from .export.command import commands as export
from .export.random_checkpoint import commands as random_checkpoint
from .info import commands as runtime
from .search import commands as search
from .serve import commands as triton_repo
from .stream.command import commands as stream
from .synth_corpus import commands as synth
from .tag.command import commands as tag
from .tokens import commands as tokens
from .train.command import commands as training

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
    random_checkpoint,
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
