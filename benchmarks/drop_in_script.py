"""A script such as those that use MuQ: it runs on the official package and on the drop-in."""

import json
import os
import sys
import time
from pathlib import Path

import numpy as np


def main(source: str, waveform: str, answer: str, *numbers: str) -> None:
    """Give one hidden state of a song in one window, and say what it took."""
    level, threads = map(int, numbers)
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])
    import torch
    from muq import MuQ

    torch.set_num_threads(threads)
    muq = MuQ.from_pretrained(source).to("cpu").eval()
    wavs = torch.from_numpy(np.load(waveform))
    processor, clock = time.process_time(), time.perf_counter()
    with torch.no_grad():
        state = muq(wavs, output_hidden_states=True)["hidden_states"][level]
    found = {
        "seconds": time.perf_counter() - clock,
        "processor_seconds": time.process_time() - processor,
    }
    np.save(answer, state.float().numpy())
    status = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    (peak,) = (line.split()[1] for line in status if line.startswith("VmHWM:"))
    print(json.dumps({**found, "peak_rss_bytes": int(peak) * 1024}))


if __name__ == "__main__":
    main(*sys.argv[1:])
