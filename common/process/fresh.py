"""A module run in a process of its own, which answers with a line of JSON."""

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from typing import Any

from ...errors import SessionError


def fresh_process(module: str, what: str, request: Mapping[str, Any]) -> tuple[float, Any]:
    """Run a module on a request, which it finds as JSON in its only argument.

    Args:
        module: its full name.
        what: what an error calls it.
        request: what can be JSON.

    Returns:
        The seconds until it had printed its line of JSON, and what that says.

    Raises:
        SessionError: the process failed; the message holds its last line.
    """
    command = [sys.executable, "-m", module, json.dumps(request)]
    with tempfile.TemporaryFile("w+") as errors:
        begin = time.perf_counter()
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True) as process:
            assert process.stdout is not None
            line = process.stdout.readline()
            seconds = time.perf_counter() - begin
        if process.returncode != 0 or not line:
            errors.seek(0)
            reason = (errors.read().strip().splitlines() or ["no message"])[-1]
            raise SessionError(f"{what}: a fresh process failed: {reason}")
    return seconds, json.loads(line)
