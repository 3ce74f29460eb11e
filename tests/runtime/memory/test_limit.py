"""What fits a limit of memory, from measured figures."""

from dataclasses import replace

import pytest

from muqrt.errors import UsageError
from muqrt.runtime.memory.limit import Fit, Own, fit
from muqrt.runtime.memory.work import Memory, Request, Work

MB = 1_000_000
OWN = Own(now_bytes=60 * MB, peak_bytes=70 * MB)
REQUEST = Request(Work("embeddings"), "bundle", "onnx-fp32", None, batch_size=8)


class Measured:
    """A process of 30 MB that takes 160 MB more when it is loaded, and 80 more for each window."""

    def __init__(self, *over: int) -> None:
        self.tried: list[int] = []
        self._over = over

    def __call__(self, request: Request) -> Memory:
        windows = request.batch_size
        self.tried.append(windows)
        peak = 190 + 80 * windows + (100 if windows in self._over else 0)
        return Memory(30 * MB, 190 * MB, peak * MB)


def need(windows: int) -> int:
    """A sixteenth more than is added, on top of what the process has, and 4 MB."""
    return 60 * MB + (160 + 80 * windows) * MB * 17 // 16 + 4 * MB


def test_as_many_windows_as_fit() -> None:
    for windows in (1, 2, 3, 5, 8):
        measured = Measured()
        assert fit(REQUEST, need(windows), measured, OWN) == Fit(windows, 1)
        # Nothing larger than what is expected to fit is tried, but for the second window.
        assert max(measured.tried) <= max(2, windows)
        assert len(measured.tried) == len(set(measured.tried))
        fewer = fit(REQUEST, need(windows) - 1, Measured(), OWN) if windows > 1 else None
        assert fewer is None or fewer.batch_size == windows - 1


def test_no_more_windows_than_are_wanted() -> None:
    assert fit(REQUEST, 64_000 * MB, Measured(), OWN) == Fit(8, 32)
    measured = Measured()
    assert fit(replace(REQUEST, batch_size=1), 64_000 * MB, measured, OWN) == Fit(1, 32)
    assert measured.tried == [1]


def test_a_batch_that_takes_more_than_expected_is_made_smaller() -> None:
    measured = Measured(4, 5)
    assert fit(REQUEST, need(5), measured, OWN).batch_size == 3
    assert measured.tried == [1, 2, 5, 4, 3]


@pytest.mark.parametrize(("left_bytes", "seconds"), [(0, 1), (95_999, 1), (96_000, 2), (MB, 11)])
def test_audio_is_decoded_ahead_as_far_as_memory_is_left(left_bytes: int, seconds: int) -> None:
    request = replace(REQUEST, batch_size=1)
    assert fit(request, need(1) + left_bytes, Measured(), OWN) == Fit(1, seconds)


def test_the_least_that_is_needed_is_said_and_then_enough() -> None:
    with pytest.raises(UsageError) as refused:
        fit(REQUEST, need(1) - 1, Measured(), OWN)
    # 60 + 240 x 17/16 + 4 and 60 + 160 x 17/16 + 4, and 4 more for the next process.
    assert str(refused.value).startswith(
        "a limit of 319 MB of memory: onnx-fp32 needs at least 323 MB here, 238 MB of them once it "
        "is loaded."
    )
    later = Own(OWN.now_bytes + 4 * MB, OWN.peak_bytes + 4 * MB)
    assert fit(REQUEST, 323 * MB, Measured(), later).batch_size == 1


def test_a_peak_before_the_model_counts() -> None:
    with pytest.raises(UsageError, match="at least 408 MB"):
        fit(REQUEST, 400 * MB, Measured(), Own(60 * MB, 400 * MB))


def test_a_whole_track_has_no_limit() -> None:
    with pytest.raises(UsageError, match="a whole track in one window takes memory that grows"):
        fit(replace(REQUEST, work=Work("embeddings", "whole")), 64_000 * MB, Measured(), OWN)
