"""A client with some live streams, one after another in each thread, until its input ends.

Prints how many streams it has finished and what went wrong. Run by test_soak.py, which kills it.
"""

import json
import logging
import sys
import threading
import time
from collections.abc import Iterator

import numpy as np

from muqrt.common.retry import Retry
from muqrt.errors import MuqrtError
from muqrt.triton_repo.client.connection import BACKOFF, GoneError
from muqrt.triton_repo.client.streaming import StreamingClient

RATE_HZ = 24_000
CHUNK_SECONDS = 0.5


def chunks(count: int, rng: np.random.Generator, stop: threading.Event) -> Iterator[np.ndarray]:
    """Noise at the pace of a live signal; some of it at least, since no stream has none."""
    due = time.monotonic()
    for index in range(count):
        if index and stop.is_set():
            return
        yield rng.normal(scale=0.1, size=int(CHUNK_SECONDS * RATE_HZ)).astype(np.float32)
        due += CHUNK_SECONDS
        time.sleep(max(0.0, due - time.monotonic()))


def connected(url: str) -> StreamingClient:
    """A client; to begin one while the model is away is an error at once, not a lost stream."""
    return Retry(BACKOFF, 120).call(lambda: StreamingClient(url, patience_seconds=120), GoneError)


def stream_on(
    url: str, seed: int, stop: threading.Event, finished: list[int], errors: list[str]
) -> None:
    rng = np.random.default_rng(seed)
    while not stop.is_set():
        count = int(rng.integers(8, 60))
        try:
            with connected(url) as client:
                hop_seconds, given = client.sliding.hop_seconds, 0.0
                step_seconds = 1 / client.sliding.framing.steps_per_second
                for hop in client.stream(chunks(count, rng, stop), RATE_HZ):
                    # The first has a window of two seconds, and the last one may be shorter.
                    is_regular = abs(hop.end_seconds - given - hop_seconds) < step_seconds + 1e-3
                    if given and not is_regular and not hop.is_last:
                        errors.append(f"a hop ends at {hop.end_seconds} s after one at {given} s")
                    given = hop.end_seconds
            if not stop.is_set() and abs(given - count * CHUNK_SECONDS) > hop_seconds:
                errors.append(f"{given} s answered of {count * CHUNK_SECONDS} s")
            finished.append(count)
        except MuqrtError as error:
            errors.append(str(error))
            time.sleep(0.5)


def main(url: str, streams: int, seed: int) -> None:
    logging.disable()  # retries are what this is about
    stop, finished, errors = threading.Event(), list[int](), list[str]()
    threads = [
        threading.Thread(target=stream_on, args=(url, seed + number, stop, finished, errors))
        for number in range(streams)
    ]
    for thread in threads:
        thread.start()
    sys.stdin.read()
    stop.set()
    for thread in threads:
        thread.join()
    print(json.dumps({"finished": len(finished), "errors": errors}))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
