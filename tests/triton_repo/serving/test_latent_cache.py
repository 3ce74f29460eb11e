"""Embeddings are computed once, and those asked for longest ago are forgotten first."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from muqrt.errors import SessionError
from muqrt.triton_repo.serving.latent_cache import RecentLatents

WIDTH = 2


def latents(keys: list[int]) -> np.ndarray:
    return np.array([[key, -key] for key in keys], np.float32).reshape(-1, WIDTH)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.lists(st.integers(0, 9), min_size=1, max_size=6), max_size=6), st.integers(1, 5))
def test_it_behaves_as_a_list_of_the_newest(asked: list[list[int]], most: int) -> None:
    recent: RecentLatents[int] = RecentLatents(most)
    computed: list[int] = []

    def compute(new: list[int]) -> np.ndarray:
        computed.extend(new)
        return latents(new)

    newest: list[int] = []  # the last one was asked for last
    for keys in asked:
        unknown = [key for key in dict.fromkeys(keys) if key not in newest]
        computed.clear()
        np.testing.assert_array_equal(recent.of(keys, compute), latents(keys))
        assert computed == unknown
        for key in keys:
            newest = [each for each in newest if each != key] + [key]
        newest = newest[-most:]


def test_it_counts_and_keeps_nothing_of_a_failure() -> None:
    recent: RecentLatents[int] = RecentLatents()

    def fail(_: list[int]) -> np.ndarray:
        raise SessionError("no")

    with pytest.raises(SessionError):
        recent.of([1, 2], fail)
    recent.of([1, 2, 2], latents)
    recent.of([2, 3], latents)
    assert (recent.asked, recent.found) == (5, 2)
