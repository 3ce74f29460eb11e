"""A signal at whatever step of writing: afterwards the old or the new is there, whole, alone."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

# Writes a new file in new folders and replaces a folder, again and again: each time in a process
# of its own that gets a signal one step later, until it has ended without one.
WRITING = """
import os, shutil, signal, sys, traceback
from pathlib import Path
from muqrt.cli import app
from muqrt.common import files, interrupts, lock

folder, step_kind, number = Path(sys.argv[1]), sys.argv[2], signal.Signals(int(sys.argv[3]))
TRACED = {each.__file__ for each in (files, interrupts, lock, app, sys.modules["muqrt.cli.ending"])}
if step_kind == "opcode":
    TRACED.add(shutil.__file__)

def command(**options):
    sys.settrace(entered)
    with files.atomic_folder(folder / "bundle") as temporary:
        (temporary / "new").touch()
    with files.atomic_file(folder / "made" / "for" / "a.npy") as temporary:
        temporary.touch()
    with lock.locked(folder / "bundle"):
        pass

def entered(frame, event, argument):
    if frame.f_code.co_filename not in TRACED:
        return None
    frame.f_trace_opcodes = step_kind == "opcode"
    return stepped

def stepped(frame, event, argument):
    global left
    if event == step_kind:
        left -= 1
        if left == 0:
            os.kill(os.getpid(), number)
    return stepped

def write(signal_at):
    global left
    left = signal_at
    app.app = command
    try:
        app.main()
    except SystemExit as end:
        return end.code
    except BaseException:
        traceback.print_exc()
        return 99
    finally:
        print(left, file=done, flush=True)

def names():
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))

for step in range(1, 100_000):
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "bundle").mkdir(parents=True)
    (folder / "bundle" / "old").touch()
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        with open(writing, "w") as done:
            code = write(step)
        os._exit(code)
    os.close(writing)
    with open(reading) as done:
        text = done.read()
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    print(step, code, *names())
    if text and int(text) > 0:
        break
"""
OLD, NEW = ["bundle", "bundle/old"], ["bundle", "bundle/new"]
DONE = [*NEW, "made", "made/for", "made/for/a.npy"]


@pytest.mark.parametrize(
    ("step_kind", "number"),
    [("line", signal.SIGTERM), pytest.param("opcode", signal.SIGINT, marks=pytest.mark.full)],
)
def test_a_signal_at_every_step(tmp_path: Path, step_kind: str, number: int) -> None:
    command = [sys.executable, "-c", WRITING, str(tmp_path / "folder"), step_kind, str(number)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0 and set(done.stderr.splitlines()) == {"muqrt: interrupted."}
    found = [line.split() for line in done.stdout.splitlines()]
    assert found[-1] == [str(len(found)), "0", *DONE]
    assert len(found) > 200
    for step, code, *names in found[:-1]:
        # By the signal itself when the command was done.
        assert code == "130" or (code == str(-number) and names == DONE), (step, code)
        assert names in (OLD, NEW, DONE), step
    assert {tuple(names) for _, _, *names in found} == {tuple(OLD), tuple(NEW), tuple(DONE)}
