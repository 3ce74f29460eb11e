"""A signal ends every command within two seconds, without a traceback or anything half-written."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import soundfile

WITHIN_SECONDS = 2.0 + 1.0  # what is written half waits for the disk, too

# A call that no exception interrupts, in the main thread or in one that is waited for.
BUSY = """
import hashlib, sys, threading, time
from pathlib import Path
from muqrt.cli.ending import ended_by_signals
from muqrt.common.files import atomic_folder

def work():
    hashlib.pbkdf2_hmac("sha256", b"", b"", 10**9)

with ended_by_signals(), atomic_folder(Path(sys.argv[2]) / "bundle"):
    print(flush=True)
    if sys.argv[1] == "thread":
        threading.Thread(target=work).start()
        time.sleep(60)
    work()
"""


@pytest.fixture(autouse=True)
def hanging_up_ends() -> Iterator[None]:
    """The commands would inherit that SIGHUP is ignored, such as under nohup."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


def ended(process: "subprocess.Popen[bytes]", number: int) -> float:
    """Seconds from the signal to the end, without those in which others had the cores."""
    before = waited(process.pid)
    after, began = dict(before), time.monotonic()
    process.send_signal(number)
    while os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG) is None:
        after |= waited(process.pid)
        if time.monotonic() > began + 60:
            process.kill()
        time.sleep(0.01)
    seconds = time.monotonic() - began
    after |= waited(process.pid)
    process.wait()
    return seconds - sum(after[thread] - before.get(thread, 0.0) for thread in after)


def waited(pid: int) -> dict[str, float]:
    """Seconds in which each thread of a process, and of this one, could have run but had no core.

    They are summed: any may be the one that is waited for, or have what another waits for.
    """
    found = {}
    for process in (pid, os.getpid()):
        for file in Path(f"/proc/{process}/task").glob("*/schedstat"):
            with suppress(OSError):  # it has ended
                found[file.parent.name] = int(file.read_text().split()[1]) / 1e9
    return found


@pytest.mark.parametrize("where", ["main", "thread"])
def test_whatever_it_is_in_the_midst_of(where: str, tmp_path: Path) -> None:
    command = [sys.executable, "-c", BUSY, where, str(tmp_path)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None and process.stdout.readline()
    assert ended(process, signal.SIGTERM if where == "main" else signal.SIGINT) < WITHIN_SECONDS
    assert process.returncode in (1, 130, -signal.SIGINT)
    assert list(tmp_path.iterdir()) == []
    process.communicate()


# numpy makes an ImportError of a signal that comes while it is imported.
IMPORTING = """
import os, signal
from muqrt.cli import app
from muqrt.errors import MissingDependencyError

def command(**options):
    try:
        os.kill(os.getpid(), signal.SIGINT)
        while True:
            pass
    except KeyboardInterrupt:
        raise {error} from None

app.app = command
app.main()
"""


# A module that is imported is imported whole: a library would print a traceback of its own.
SLOW_MODULE = """
import os, signal, time
os.kill(os.getpid(), signal.SIGTERM)
for _ in range(3):
    time.sleep(0.1)
print("imported", flush=True)
"""


@pytest.mark.parametrize("pace", ["nullcontext", "at_its_own_pace"])
def test_a_signal_while_a_module_is_imported(pace: str, tmp_path: Path) -> None:
    (tmp_path / "slow_module.py").write_text(SLOW_MODULE)
    code = (
        "import sys, time\n"
        "from contextlib import nullcontext\n"
        "from muqrt.cli import app\n"
        "from muqrt.cli.ending import at_its_own_pace\n"
        f"sys.path.append({str(tmp_path)!r})\n"
        "def command(**options):\n"
        f"    with {pace}():\n"
        "        import slow_module\n"
        "        time.sleep(60)\n"
        "app.app = command\n"
        "app.main()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (130, "imported\n")
    assert done.stderr == "muqrt: interrupted.\n"


@pytest.mark.parametrize("error", ["ImportError('numpy')", "MissingDependencyError('numpy')"])
def test_an_error_that_a_library_makes_of_a_signal(error: str) -> None:
    command = [sys.executable, "-c", IMPORTING.format(error=error)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (130, "muqrt: interrupted.\n")


class Models(NamedTuple):
    """What the commands are given."""

    checkpoint: Path
    bundle: Path
    tagged: Path
    scored: Path
    tokens: Path
    mulan: Path
    mulan_checkpoint: Path
    rvq: Path
    silent_server: str


def commands(folder: Path, models: "Models") -> dict[str, list[object]]:
    """Every command that may run for long, at work for at least some seconds where it can be."""
    song, out = folder / "long.wav", folder / "out"
    tiny, bundle, tagged = models.checkpoint, models.bundle, models.tagged
    train = [folder, "-o", out, "--steps", "9999", "--batch-size", "8", "--accelerator", "cpu"]
    short = ["--crop-seconds", "10"]
    small = ["--size", "tiny", *short]
    measured = [bundle, "--checkpoint", tiny]
    return {
        "export": ["export", tiny, "-o", out],
        "build": ["build", *measured, "--precision", "fp16"],
        "parity": ["parity", *measured],
        "build-kernels": ["build-kernels"],
        "random-checkpoint": ["random-checkpoint", "-o", out],
        "embed": ["embed", song, "-b", bundle, "-o", out],
        "embed features": ["embed", song, "-b", bundle, "-o", out / "a.npy", "--features"],
        "tag": ["tag", song, "-b", tagged],
        "tag labels": ["tag", song, "-b", models.mulan, "--labels", "a", "b", "--no-cache"],
        "score": ["score", song, "-b", models.scored],
        "tokens": ["tokens", song, "-b", models.tokens, "-o", out],
        "search": ["search", folder, "-b", models.mulan, "--index", out],
        "watch": ["watch", folder, "-b", bundle, "-o", out],
        "watch index": ["watch", folder, "-b", models.mulan, "--index", out],
        "stream": ["stream", song, "-b", tagged],
        "stream fast": ["stream", song, "-b", tagged, "--fast"],
        "stream server": ["stream", song, "--server", models.silent_server],
        "embed server": ["embed", song, "--server", models.silent_server],
        "info": ["info", bundle],
        "doctor": ["doctor"],
        "repository": ["repository", tagged, "-o", out],
        "train rvq": ["train", "rvq", *train, *small],
        "train pretrain": ["train", "pretrain", *train, *small, "--rvq", models.rvq],
        "train iterate": ["train", "iterate", *train, *short, "--checkpoint", tiny, "--level", "2"],
        "train probe": ["train", "probe", tiny, folder, "--task", "genre", "-o", out],
        "train mulan": ["train", "mulan", *train, "--muq", tiny],
        "train compact": ["train", "compact", tiny, "-o", out],
        "synth-corpus": ["synth-corpus", "-o", out],
        "synth-corpus alone": ["synth-corpus", "-o", out, "--jobs", "1"],
        "evaluate": ["evaluate", folder, "--cache", folder / "cache"],
        "bench model": ["bench", "model", *measured],
        "bench kernels": ["bench", "kernels", tiny],
        "bench towers": ["bench", "towers", models.mulan, "--checkpoint", models.mulan_checkpoint],
        "bench lengths": ["bench", "lengths", *measured],
        "bench streams": ["bench", "streams", "-b", tagged],
        "bench drop-in": ["bench", "drop-in", *measured, "--official", folder / "slow-python"],
        "bench build": ["bench", "build", *measured],
        "bench compile": ["bench", "compile", tiny, "-o", out, "--jobs", "2"],
        "bench training": ["bench", "training", "--size", "tiny", "--rounds", "9999"],
    }


def wait_until_caught(process: "subprocess.Popen[bytes]") -> None:
    """Wait until a process has begun its command: it then catches SIGTERM."""
    for _ in range(600):
        status = Path(f"/proc/{process.pid}/status").read_text()
        caught = int(status.split("SigCgt:")[1].split()[0], 16)
        if caught >> (signal.SIGTERM - 1) & 1 or process.poll() is not None:
            return
        time.sleep(0.05)


def children(pid: int) -> list[int]:
    """A process's children and theirs."""
    found = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [one for child in map(int, found) for one in (child, *children(child))]


def is_running(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except OSError:
        return False
    return state != "Z"


def check(
    folder: Path, arguments: Sequence[object], after_seconds: float, number: int, at_work: bool
) -> None:
    """Interrupt a command so long after it has begun.

    Args:
        folder: where it may write.
        arguments: the command.
        after_seconds: when the signal is sent.
        number: the signal.
        at_work: whether the command must still be running then.
    """
    before = {path.name for path in folder.iterdir()}
    command = [sys.executable, "-m", "muqrt", *map(str, arguments)]
    cache = folder / "cache"
    cache.mkdir(exist_ok=True)
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "XDG_CACHE_HOME": str(cache)}
    environment["TMPDIR"] = str(cache)
    environment.pop("TRITON_INTERPRET", None)  # of the tests of kernels
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment
    )
    wait_until_caught(process)
    try:
        code = process.wait(after_seconds)
        error = process.communicate()[1].decode()
        assert not at_work and code == 0, error
    except subprocess.TimeoutExpired:
        family = children(process.pid)
        assert ended(process, number) < WITHIN_SECONDS
        error = process.communicate()[1].decode()
        # By the signal itself where it came when the command was done.
        usual = (-signal.SIGINT, -signal.SIGTERM, -signal.SIGHUP)
        assert process.returncode in (0, 130, *usual), error
        for _ in range(100):
            if not any(map(is_running, family)):
                break
            time.sleep(0.1)
        else:
            raise AssertionError("its children go on")
    assert "Traceback" not in error and "leaked" not in error, error
    left = {path.name for path in folder.rglob("*") if path.name.endswith(".muqrt-partial")}
    # A training's settings are beside its folder; bench compile goes on with its partial report.
    wanted = before | {"out", "out.toml", "out.partial", "cache"}
    assert not left and {path.name for path in folder.iterdir()} <= wanted


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Music, one track of it long, with a manifest."""
    folder = tmp_path / "music"
    folder.mkdir()
    generator = np.random.default_rng(0)
    minute = generator.uniform(-0.1, 0.1, 24_000 * 60)
    soundfile.write(folder / "long.wav", np.tile(minute, 20), 24_000)
    slow_python = folder / "slow-python"
    slow_python.write_text("#!/bin/sh\nexec sleep 60\n")
    slow_python.chmod(0o755)
    rows = []
    for index, split in enumerate(("train", "valid", "test") * 8):
        samples = generator.uniform(-0.1, 0.1, 24_000 * 12)
        soundfile.write(folder / f"{index}.wav", samples, 24_000)
        genre = ("jazz", "metal")[index // 3 % 2]
        rows.append({"audio": f"{index}.wav", "song": str(index), "split": split, "genre": genre})
        rows[-1]["description"] = f"some {genre}"
    (folder / "manifest.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return folder


@pytest.fixture
def models(
    tiny_checkpoint: Path,
    bundle_copy: Path,
    tagged_bundle: Path,
    scored_bundle: Path,
    token_bundle: Path,
    mulan_bundle: Path,
    mulan_checkpoint: Path,
    tmp_path: Path,
) -> Iterator[Models]:
    from muqrt.reference.rvq_file import RvqConfig, save_rvq

    config = RvqConfig(width=512, mean=0.0, std=1.0)
    save_rvq(config.build(), config, tmp_path / "rvq")
    made = (tiny_checkpoint, bundle_copy, tagged_bundle, scored_bundle, token_bundle, mulan_bundle)
    with socket.create_server(("127.0.0.1", 0)) as server:  # takes connections, and says nothing
        url = f"127.0.0.1:{server.getsockname()[1]}"
        yield Models(*made, mulan_checkpoint, tmp_path / "rvq", url)


# They may be done before the signal comes.
BRIEF = ("info", "doctor", "repository", "random-checkpoint", "train compact")
NAMES = tuple(commands(Path(), Models(*[Path()] * 8, "")))


@pytest.mark.parametrize("name", ["stream", "export", "train rvq", "synth-corpus", "bench model"])
def test_one_command_of_each_group(folder: Path, models: Models, name: str) -> None:
    arguments = commands(folder, models)[name]
    check(folder, arguments, 1.5, signal.SIGTERM, at_work=name not in BRIEF)


@pytest.mark.full
@pytest.mark.parametrize(
    ("after_seconds", "number"), [(0.5, signal.SIGHUP), (2.0, signal.SIGTERM), (6.0, signal.SIGINT)]
)
@pytest.mark.parametrize("name", NAMES)
def test_every_command(
    folder: Path, models: Models, name: str, after_seconds: float, number: int
) -> None:
    check(folder, commands(folder, models)[name], after_seconds, number, at_work=False)
