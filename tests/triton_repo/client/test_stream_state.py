"""What a client keeps of its stream is enough to open it again: against the runtime's own windows,
with a server that forgets."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from muqrt.errors import AudioError, ServerError
from muqrt.runtime.streaming.engine import Hop
from muqrt.runtime.streaming.stream import SlidingConfig, Stream
from muqrt.triton_repo.client.connection import BusyError, GoneError, LostStreamError
from muqrt.triton_repo.client.stream_state import ClientStream, StreamRequest

from ...framing import muq_framing

FRAMING = muq_framing(48_000)
PATIENCE_SECONDS = 60.0


def answers(window: np.ndarray) -> list[float]:
    """Two numbers that tell windows apart, in the place of tags."""
    return [float(np.square(window).mean()), float(window @ np.linspace(-1, 1, len(window)))]


class ForgetfulServer:
    """Streams by their ids, until it forgets them."""

    def __init__(self, sliding: SlidingConfig) -> None:
        self._sliding = sliding
        self._streams: dict[int, tuple[Stream, int]] = {}

    def forget(self) -> None:
        self._streams.clear()

    def answer(self, request: StreamRequest) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        if request.is_start:
            rate_hz = int(request.inputs["rate_hz"][0])
            self._streams[request.stream_id] = (Stream(self._sliding, rate_hz), 0)
        if request.stream_id not in self._streams:
            raise LostStreamError("no such stream")
        stream, chunks = self._streams[request.stream_id]
        assert request.inputs["chunk_index"] == [chunks]
        self._streams[request.stream_id] = (stream, chunks + 1)
        stream.append(request.inputs.get("waveform"), request.is_end)
        tags, seconds, silent = [], [], []
        while (window := stream.next_window()) is not None:
            start = window.start_step * FRAMING.step_samples
            seconds.append((start / 24_000, (start + window.waveform.shape[1]) / 24_000))
            tags.append(answers(window.waveform[0]))
            silent.append(window.is_silent)
        rows = np.array(tags, np.float32).reshape(-1, 2), np.array(seconds).reshape(-1, 2)
        return *rows, np.array(silent, bool)


def heard(
    sliding: SlidingConfig,
    waveform: np.ndarray,
    rate_hz: int,
    chunk_samples: int,
    forgets: set[int],
) -> list[Hop]:
    """Every hop of a stream whose server forgets it before these requests."""
    server, live = ForgetfulServer(sliding), ClientStream(sliding, rate_hz, "song", 1e9)
    hops: list[Hop] = []
    requests = 0
    for first in [*range(0, len(waveform), chunk_samples), None]:
        if first is None:
            live.finish()
        else:
            live.append(waveform[first : first + chunk_samples])
        while (request := live.next_request()) is not None:
            if requests in forgets:
                server.forget()
            requests += 1
            try:
                answer = server.answer(request)
            except LostStreamError as error:
                live.failed(error)
            else:
                hops += live.answered(request, *answer)
    assert not live.is_open
    return hops


@settings(max_examples=15, deadline=None)
@given(
    rate_hz=st.sampled_from([24_000, 44_100, 16_000]),
    hop_seconds=st.sampled_from([0.5, 0.3, 0.25, 0.128]),
    chunk_samples=st.integers(3_000, 60_000),
    forgets=st.sets(st.integers(0, 20), min_size=1, max_size=4),
    seed=st.integers(0, 3),
)
def test_a_stream_goes_on_as_if_nothing_had_happened(
    rate_hz: int, hop_seconds: float, chunk_samples: int, forgets: set[int], seed: int
) -> None:
    sliding = SlidingConfig.every(FRAMING, None, hop_seconds, window_seconds=1.0, first_seconds=0.4)
    noise = np.random.default_rng(seed).normal(scale=0.2, size=round(7.123 * rate_hz))
    waveform = noise.astype(np.float32)
    expected = heard(sliding, waveform, rate_hz, chunk_samples, set())
    found = heard(sliding, waveform, rate_hz, chunk_samples, forgets)
    assert [hop.end_seconds for hop in found] == pytest.approx(
        [hop.end_seconds for hop in expected], abs=1e-9
    )
    assert [hop.start_seconds for hop in found] == pytest.approx(
        [hop.start_seconds for hop in expected], abs=1e-9
    )
    assert [hop.is_last for hop in found] == [hop.is_last for hop in expected]
    np.testing.assert_allclose(
        [hop.outputs["tags"] for hop in found],
        [hop.outputs["tags"] for hop in expected],
        rtol=1e-4,
        atol=1e-4,
    )


def test_it_holds_a_window_whatever_its_age() -> None:
    sliding = SlidingConfig.every(FRAMING, None, 0.5, window_seconds=2.0)
    server, live = ForgetfulServer(sliding), ClientStream(sliding, 24_000, "song", 60)
    held = []
    for _ in range(60):
        live.append(np.ones(12_000, np.float32))
        request = live.next_request()
        assert request is not None
        live.answered(request, *server.answer(request))
        held.append(live._samples.stop - live._kept_from)
    # The window, the grid that it may be opened again on, and the hop that came last.
    assert max(held) <= (2.0 + 1.0 + 0.5) * 24_000


def test_long_chunks_are_sent_in_pieces_of_a_second() -> None:
    sliding = SlidingConfig.every(FRAMING, None)
    live = ClientStream(sliding, 8_000, "song", 60)
    live.append(np.zeros((2, 20_000), np.int16))
    live.finish()
    requests = []
    while (request := live.next_request()) is not None:
        requests.append(request)
        live.answered(request, np.zeros((0, 2)), np.zeros((0, 2)), np.zeros(0, bool))
    assert [len(each.inputs.get("waveform", ())) for each in requests] == [8_000, 8_000, 4_000, 0]
    assert [each.inputs["chunk_index"].tolist() for each in requests] == [[0], [1], [2], [3]]
    assert [each.is_start for each in requests] == [True, False, False, False]
    assert [each.is_end for each in requests] == [False, False, False, True]
    assert ["rate_hz" in each.inputs for each in requests] == [True, False, False, False]
    assert len({each.stream_id for each in requests}) == 1


def test_a_full_server_is_asked_the_same_again_and_one_that_went_away_from_the_start() -> None:
    live = ClientStream(SlidingConfig.every(FRAMING, None), 24_000, "song", PATIENCE_SECONDS)
    live.append(np.zeros(100, np.float32))
    first = live.next_request()
    live.failed(BusyError("full"))
    second = live.next_request()
    live.failed(GoneError("away"))
    third = live.next_request()
    assert first and second and third
    assert first.stream_id == second.stream_id != third.stream_id
    assert first.is_start and second.is_start and third.is_start


@pytest.mark.parametrize("error", [BusyError("full"), GoneError("away"), LostStreamError("lost")])
def test_patience_comes_to_an_end(
    error: ServerError, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    clock = [1000.0]
    monkeypatch.setattr("time.monotonic", lambda: clock[0])
    live = ClientStream(SlidingConfig.every(FRAMING, None), 24_000, "song", PATIENCE_SECONDS)
    live.append(np.zeros(100, np.float32))
    pauses = []
    with pytest.raises(type(error), match=str(error)):
        while True:
            assert live.next_request() is not None
            pauses.append(live.failed(error))
            clock[0] += pauses[-1]
    assert PATIENCE_SECONDS - 2 <= sum(pauses) <= PATIENCE_SECONDS
    assert pauses[0] < 0.2 < 1 < pauses[-1]
    assert caplog.messages == [f"song: {error} Trying for 60 s."]  # once, not each time


def test_a_server_that_falls_over_the_same_audio_is_given_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = [1000.0]
    monkeypatch.setattr("time.monotonic", lambda: clock[0])
    sliding = SlidingConfig.every(FRAMING, None)
    server, live = ForgetfulServer(sliding), ClientStream(sliding, 24_000, "song", PATIENCE_SECONDS)
    live.append(np.zeros(72_000, np.float32))
    requests = 0
    with pytest.raises(GoneError):
        while (request := live.next_request()) is not None:
            requests += 1
            assert requests < 1000
            if request.inputs["chunk_index"] == [2]:
                clock[0] += live.failed(GoneError("away"))
            else:
                live.answered(request, *server.answer(request))


def test_samples_that_cannot_be_used_are_refused_before_they_are_sent() -> None:
    live = ClientStream(SlidingConfig.every(FRAMING, None), 24_000, "song", 60)
    for chunk, message in [
        (np.zeros(5, np.uint8), "dtype uint8"),
        (np.zeros(0, np.float32), "no samples"),
        (np.full(9, np.nan, np.float32), "NaN"),
        (np.zeros((9, 2), np.float32), "transpose"),
    ]:
        with pytest.raises(AudioError, match=f"song: .*{message}"):
            live.append(chunk)
    with pytest.raises(AudioError, match="has no samples"):
        live.finish()
    assert live.next_request() is None
    with pytest.raises(AudioError, match="100 Hz"):
        ClientStream(SlidingConfig.every(FRAMING, None), 100, "song", 60)
