"""Run muqrt's commands in this process, which qemu emulates: the words of each on stdin, as JSON.

What each printed, and how it ended, goes to stdout. A process a command would import everything
anew, which takes longer than the commands.
"""

import io
import json
import sys
from contextlib import redirect_stderr, redirect_stdout

from muqrt.cli.app import main


def run(words: list[str]) -> tuple[int | str | None, str, str]:
    output, errors = io.StringIO(), io.StringIO()
    sys.argv = ["muqrt", *words]
    with redirect_stdout(output), redirect_stderr(errors):
        try:
            main()
        except SystemExit as end:
            return end.code, output.getvalue(), errors.getvalue()


print(json.dumps([run(words) for words in json.load(sys.stdin)]))
