"""What the live view shows on a terminal."""

import io
import os
import pty
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from muqrt.cli.stream.view import LiveView
from muqrt.runtime.bundle.tagging import Tagging
from muqrt.runtime.streaming.engine import Hop
from muqrt.runtime.streaming.events import Event

from ...framing import muq_tagging

NAMES = ["guitar", "[b]drums", "voice", *(f"tag {index}" for index in range(20))]


@pytest.fixture
def tagging() -> Tagging:
    return muq_tagging(NAMES)


def hop(end_seconds: float, **scores: float) -> Hop:
    tags = np.array([scores.get(name.strip("[b]"), 0.01) for name in NAMES], np.float32)
    return Hop(0.0, end_seconds, {"tags": tags}, False)


def last_frame(screen: str) -> str:
    """What is left on the terminal: rich draws anew over the lines before."""
    return screen.rpartition("\x1b[2K")[2]


def test_the_newest_hop_is_shown_best_first(tagging: Tagging) -> None:
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=80, color_system=None)
    with LiveView("song.flac", tagging, console=console) as view:
        assert "song.flac: listening" in screen.getvalue()
        view.hop(hop(2.0, guitar=0.9), 0.045)
        view.hop(hop(2.5, drums=0.75, voice=0.25), 0.0451)
        view.event(Event("[b]drums", 1.2, None, 0.75))
        view.event(Event("guitar", 0.0, 1.2, 0.9))
    shown = [line.rstrip() for line in last_frame(screen.getvalue()).splitlines()]
    assert shown[0] == "song.flac  2.5 s  (tags of 0.0 to 2.5 s, 45 ms later)"
    assert shown[1].split() == ["[b]drums", "█" * 24, "0.75"]
    assert shown[2].split() == ["voice", "█" * 8, "0.25"]
    # Twelve tags, and the newest event first.
    assert shown[13:15] == ["1.2 s  guitar ends (0.0 to 1.2 s)", "1.2 s  [b]drums begins"]


def test_no_more_is_shown_than_asked_for(tagging: Tagging) -> None:
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=80, color_system=None)
    with LiveView("radio", tagging, top=2, console=console) as view:
        view.hop(hop(3.0, voice=0.9), 0.1)
        for index in range(20):
            view.event(Event(f"tag {index}", 1.0, None, 0.9))
    shown = last_frame(screen.getvalue()).splitlines()
    assert len(shown) <= 1 + 2 + 6 + 1
    assert "tag 19 begins" in shown[3]


def test_on_a_terminal_the_command_shows_it(tagged_bundle: Path, music: Path) -> None:
    terminal, shown = pty.openpty()
    song = music / "greensleeves_duo.flac"
    command = [sys.executable, "-m", "muqrt", "stream", str(song), "-b", str(tagged_bundle)]
    command += ["--first-seconds", "0.5"]
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "100", "LINES": "40"}
    process = subprocess.Popen(command, stdout=shown, stderr=subprocess.PIPE, env=environment)
    os.close(shown)
    screen = b""
    try:
        while part := os.read(terminal, 1 << 16):
            screen += part
            if b"ms later" in screen and process.poll() is None:
                process.send_signal(signal.SIGINT)
                break
        while part := os.read(terminal, 1 << 16):
            screen += part
    except OSError:  # the terminal's other end is closed
        pass
    os.close(terminal)
    _, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (0, b"")
    assert b"listening" in screen
    assert "█".encode() in screen
    assert f"{song}: ".encode() in last_frame(screen.decode()).encode()
