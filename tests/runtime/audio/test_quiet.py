"""What the mp3 decoder prints about damage stays off stderr, and nothing else does."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

SCRIPT = """
import ctypes, sys, threading
from muqrt.errors import AudioError
from muqrt.runtime.audio.readers.quiet import quiet_libraries
from muqrt.runtime.audio.read import load

library = ctypes.CDLL(None)

def say(text):  # as C code does
    library.fputs(text.encode(), ctypes.c_void_p.in_dll(library, "stderr"))

def read():
    for _ in range(3):
        try:
            load(sys.argv[1])
        except AudioError:
            pass
        sys.stderr.write("python\\n")

threads = [threading.Thread(target=read) for _ in range(4)]
for thread in threads: thread.start()
for thread in threads: thread.join()
with quiet_libraries(), quiet_libraries():
    say("hidden\\n")
say("shown\\n")
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the variable is glibc's")
def test_notes_of_the_decoder_stay_off_stderr(tmp_path: Path) -> None:
    song = tmp_path / "song.mp3"
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, 3 * 44_100)
    soundfile.write(song, noise, 44_100)
    data = song.read_bytes()
    middle = len(data) // 2
    song.write_bytes(data[:middle] + b"<p>502 Bad Gateway</p>" * 100 + data[middle:])
    silent = subprocess.run(
        [sys.executable, "-c", SCRIPT, song], capture_output=True, text=True, check=True
    )
    # What is left out of the file is said by muqrt, in Python.
    rest = [line for line in silent.stderr.splitlines() if not line.startswith(str(song))]
    assert sorted(rest) == ["python"] * 12 + ["shown"]
    # Without it they do appear.
    plain = f"import soundfile; soundfile.read({str(song)!r})"
    loud = subprocess.run([sys.executable, "-c", plain], capture_output=True, text=True)
    assert "Note: " in loud.stderr
