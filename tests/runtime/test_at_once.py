"""One model in many threads, in a child of a fork, and on many lengths."""

import multiprocessing
import resource
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import pytest

from muqrt.runtime.load import load
from muqrt.runtime.model import Model

RATE_HZ = 24_000
THREADS = 12


@pytest.fixture(scope="module")
def model(tiny_bundle: Path) -> Iterator[Model]:
    with load(tiny_bundle, threads=1) as opened:
        yield opened


def noise(samples: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-0.5, 0.5, samples).astype(np.float32)


def test_twelve_threads_get_what_one_gets(model: Model) -> None:
    tracks = [noise(9_600 + 4_800 * (seed % 5), seed) for seed in range(4 * THREADS)]
    alone = [model.embed(track, RATE_HZ) for track in tracks]
    with ThreadPoolExecutor(THREADS) as pool:
        together = list(pool.map(lambda track: model.embed(track, RATE_HZ), tracks))
    for found, expected in zip(together, alone, strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-6)


def answer(bundle: Path, track: np.ndarray, result: Connection) -> None:
    with load(bundle, threads=1) as model:
        result.send(model.embed(track, RATE_HZ))


def test_a_fork_loads_its_own(model: Model, tiny_bundle: Path) -> None:
    track = noise(24_000)
    expected = model.embed(track, RATE_HZ)  # the parent's is at work before and after
    context = multiprocessing.get_context("fork")
    ours, its = context.Pipe(duplex=False)
    child = context.Process(target=answer, args=(tiny_bundle, track, its))
    child.start()
    assert ours.poll(60), "the child hangs"
    np.testing.assert_array_equal(ours.recv(), expected)
    child.join(60)
    assert child.exitcode == 0
    np.testing.assert_array_equal(model.embed(track, RATE_HZ), expected)


def rss_kib() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() >> 10


def growth_kib(bundle: Path, result: Connection) -> None:
    """Send by how much 120 lengths make a process larger that has had the longest."""
    lengths = [4_800 + 1_999 * index for index in range(120)]
    with load(bundle, threads=1) as model:
        for _ in range(2):
            model.embed(noise(max(lengths)), RATE_HZ)
        before = rss_kib()
        for length in np.random.default_rng(0).permutation(lengths):
            model.embed(noise(int(length)), RATE_HZ)
        result.send(rss_kib() - before)


def test_many_lengths_take_no_more_memory_than_the_longest(tiny_bundle: Path) -> None:
    # In a process of its own: other tests' memory is in this one's, and comes and goes.
    context = multiprocessing.get_context("spawn")
    ours, its = context.Pipe(duplex=False)
    child = context.Process(target=growth_kib, args=(tiny_bundle, its))
    child.start()
    assert ours.poll(120), "the child hangs"
    assert ours.recv() < 20 << 10
    child.join(60)
