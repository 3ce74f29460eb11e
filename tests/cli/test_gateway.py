"""``muqrt gateway``: what it refuses, and that it announces itself and ends cleanly."""

import json
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess
from urllib.request import urlopen

import pytest


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--address", "0.0.0.0"], "--allow-remote"),
        (["--allow-private-urls"], "--allow-urls"),
        (["--site", "nowhere"], "no such folder"),
        (["--tls-cert", "a.pem"], "--tls-cert and --tls-key go together"),
        (["--server", "host:1", "--threads", "2"], "--bundle"),
    ],
)
def test_what_makes_no_sense_is_refused(
    options: list[str], reason: str, muqrt: Callable[..., CompletedProcess[str]]
) -> None:
    done = muqrt("gateway", *options)
    assert (done.returncode, reason in done.stderr) == (2, True), done.stderr


def test_it_announces_itself_and_ends_cleanly(tagged_bundle: Path) -> None:
    for module in ("uvicorn", "starlette", "websockets", "python_multipart"):
        pytest.importorskip(module, reason="pip install 'muqrt[web]'")
    command = [sys.executable, "-m", "muqrt", "gateway", "-b", tagged_bundle, "--port", "0"]
    with subprocess.Popen([*command, "--json"], stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        try:
            facts = json.loads(running.stdout.readline())
            with urlopen(f"{facts['url']}/readyz", timeout=60) as answer:
                assert answer.status == 200
            running.send_signal(signal.SIGTERM)
            assert running.wait(60) == 0
        finally:
            running.kill()
