"""The whole road, from a checkpoint to a served answer, as a user would type it.

``make demo`` runs this with muq-mini, the small model that ships; ``make demo
CHECKPOINT=OpenMuQ/MuQ-large-msd-iter`` with released weights, which come without tags.
"""

import argparse
import json
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import numpy as np

MUSIC = Path(__file__).parent / "audio" / "ode_to_joy_band.ogg"
MUQ_MINI = Path(__file__).parent.parent / "reference" / "checkpoints" / "muq-mini"
# Served answers are the local runtime's; both are float32.
SERVED_TOLERANCE = 1e-5


def main() -> int:
    """Run every step; returns the process's exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checkpoint", help="folder, .pt file or hub id; muq-mini")
    parser.add_argument("--work", type=Path, default=Path("build/demo"), help="folder to work in")
    arguments = parser.parse_args()
    work: Path = arguments.work
    work.mkdir(parents=True, exist_ok=True)
    began = time.perf_counter()
    checkpoint = arguments.checkpoint or MUQ_MINI
    muqrt("export", checkpoint, "-o", work / "bundle")
    muqrt("repository", work / "bundle", "-o", work / "models")
    here, there = work / "local.npy", work / "served.npy"
    with server(work / "models") as url:
        muqrt("embed", MUSIC, "--server", url, "-o", there)
        if (Path(checkpoint) / "tags").is_dir():
            muqrt("tag", MUSIC, "--server", url)
    muqrt("embed", MUSIC, "--bundle", work / "bundle", "-o", here)
    difference = float(np.abs(np.load(here) - np.load(there)).max())
    same = difference <= SERVED_TOLERANCE
    print(f"\nServed and local embeddings differ by at most {difference:.1e}: ", end="")
    print("the same numbers." if same else "NOT the same numbers.")
    print(f"From checkpoint to served answer in {time.perf_counter() - began:.1f} s.")
    return 0 if same else 1


def muqrt(*arguments: object) -> None:
    """Run one command, shown as it would be typed and timed."""
    print(f"\n$ muqrt {' '.join(map(str, arguments))}", flush=True)
    began = time.perf_counter()
    done = subprocess.run([sys.executable, "-m", "muqrt", *map(str, arguments)])
    if done.returncode != 0:
        sys.exit(done.returncode)
    print(f"({time.perf_counter() - began:.1f} s)")


@contextmanager
def server(models: Path):
    """Serve a model repository on free ports; yields the gRPC address."""
    ports = ["--http-port", "0", "--grpc-port", "0", "--metrics-port", "0"]
    command = [sys.executable, "-m", "muqrt", "serve", str(models), *ports, "--json"]
    print(f"\n$ muqrt serve {models}", flush=True)
    began = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line:
            sys.exit(process.wait())
        facts = json.loads(line)
        print(f"Serving {', '.join(facts['models'])} at {facts['grpc']}", end=" ")
        print(f"({time.perf_counter() - began:.1f} s)")
        yield facts["grpc"]
    finally:
        process.terminate()
        process.wait()


if __name__ == "__main__":
    sys.exit(main())
