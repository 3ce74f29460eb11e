"""Events follow from the scores as the rules say, window by window."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from muqrt.errors import UsageError
from muqrt.runtime.bundle.tagging import Segment, TrackTags
from muqrt.runtime.streaming.engine import Hop
from muqrt.runtime.streaming.events import Event, Silence, Smoothing, TagEvents

from ...framing import muq_tagging

TAGGING = muq_tagging(["guitar", "piano", "voice"], [0.5, 0.25, 0.75])


def hops(scores: np.ndarray, hop_seconds: float = 0.5) -> list[Hop]:
    """Windows that end with every hop, at a whole step of 40 ms, and grow to 10 s."""
    found = []
    for index, row in enumerate(scores, start=1):
        end_step = index * round(1000 * hop_seconds) // 40
        start_step = max(0, end_step - 250)
        tags = {"tags": row.astype(np.float32)}
        found.append(Hop(start_step / 25, end_step / 25, tags, False))
    return found


def edges_seconds(given: list[Hop]) -> list[float]:
    middles = [(hop.start_seconds + hop.end_seconds) / 2 for hop in given]
    return [0.0, *((a + b) / 2 for a, b in pairwise(middles)), given[-1].end_seconds]


def naive_segments(given: list[Hop], smoothing: Smoothing) -> set[Event]:
    """Tag by tag: which windows are on, then where runs of them begin and end."""
    edges, found = edges_seconds(given), set()
    for column, tag in enumerate(TAGGING.vocabulary):
        scores = [float(hop.outputs["tags"][column]) for hop in given]
        threshold = TAGGING.thresholds[column]
        on, first = False, 0
        for i, score in enumerate([*scores, -1.0]):
            was_on, on = on, score >= threshold * (smoothing.release if on else 1)
            if on and not was_on:
                first = i
            elif was_on and not on:
                lasted = round(edges[i] - edges[first], 6)
                if lasted >= smoothing.minimum_seconds:
                    found.add(Event(tag, edges[first], edges[i], max(scores[first:i])))
    return found


def run(given: list[Hop], smoothing: Smoothing) -> tuple[TagEvents, list[list[Event]]]:
    """What every hop brings, and then the end."""
    events = TagEvents(TAGGING, smoothing)
    said = [events.push(hop) for hop in given]
    return events, [*said, events.finish(given[-1].end_seconds)]


# Scores on and around the thresholds and where 0.5 and 0.8 of them release.
levels = st.sampled_from([0.0, 0.13, 0.2, 0.25, 0.3, 0.4, 0.45, 0.5, 0.6, 0.7, 0.75, 1.0])
tracks = st.lists(st.tuples(levels, levels, levels), min_size=1, max_size=40).map(np.array)
smoothings = st.builds(
    Smoothing, st.sampled_from([0, 0.5, 1.0, 1.5, 7.7]), st.sampled_from([0.5, 0.8, 1.0])
)


@settings(max_examples=150, deadline=None)
@given(tracks, smoothings, st.sampled_from([0.04, 0.5, 1.0]))
def test_segments_are_those_of_the_rules(
    scores: np.ndarray, smoothing: Smoothing, hop_seconds: float
) -> None:
    given = hops(scores, hop_seconds)
    events, said = run(given, smoothing)
    assert set(events.segments) == naive_segments(given, smoothing)
    over = [event for each in said for event in each if event.end_seconds is not None]
    assert events.segments == over
    told = [
        event.start_seconds if event.end_seconds is None else event.end_seconds
        for each in said
        for event in each
    ]
    assert told == sorted(told)


@settings(max_examples=100, deadline=None)
@given(tracks, smoothings)
def test_a_beginning_is_said_once_and_as_soon_as_it_is_sure(
    scores: np.ndarray, smoothing: Smoothing
) -> None:
    given = hops(scores)
    _, said = run(given, smoothing)
    running: set[tuple[str, float]] = set()
    middles = [(hop.start_seconds + hop.end_seconds) / 2 for hop in given]
    edges = edges_seconds(given)
    for index, events in enumerate(said):
        for event in events:
            key = (event.tag, event.start_seconds)
            if event.end_seconds is not None:
                running.remove(key)
                continue
            assert key not in running
            running.add(key)
            # The window before was not yet long enough past the beginning.
            before = middles[index - 1] if index else -1.0
            lasted = round(before - event.start_seconds, 6)
            assert event.start_seconds == edges[index] or lasted < smoothing.minimum_seconds
    assert not running


@settings(max_examples=100, deadline=None)
@given(tracks, st.sampled_from([0.04, 0.48, 0.5, 2.0]))
def test_without_smoothing_they_are_a_tracks_segments(
    scores: np.ndarray, hop_seconds: float
) -> None:
    given = []
    for index, row in enumerate(scores):  # windows of full length, as a track is cut
        start = index * hop_seconds
        given.append(Hop(start, start + 10, {"tags": row.astype(np.float32)}, False))
    events, _ = run(given, Smoothing(minimum_seconds=0, release=1))
    window_scores = np.stack([hop.outputs["tags"] for hop in given])
    expected = TrackTags(TAGGING, np.array(edges_seconds(given)), window_scores).segments()
    found: dict[str, list[Segment]] = {}
    for tag, start_seconds, end_seconds, _ in events.segments:
        assert end_seconds is not None
        found.setdefault(tag, []).append(Segment(start_seconds, end_seconds))
    assert found == expected


def test_a_stretch_of_exactly_the_minimum_counts_wherever_it_lies() -> None:
    smoothing = Smoothing(minimum_seconds=1.0)
    for first in range(25, 200):  # full windows, whose edges are 0.5 s apart
        scores = np.zeros((first + 4, 3))
        scores[first : first + 2, 0] = 0.9
        events, _ = run(hops(scores), smoothing)
        (segment,) = events.segments
        assert segment.end_seconds is not None
        assert segment.end_seconds - segment.start_seconds == pytest.approx(1.0)


def test_what_is_said_and_when() -> None:
    scores = np.zeros((60, 3))
    scores[30:36, 0] = [0.6, 0.7, 0.41, 0.9, 0.45, 0.39]  # on at 0.5, over below 0.4
    given = hops(scores)
    events, said = run(given, Smoothing(1.0, 0.8))
    (begun,), (over,) = (each for each in said if each)
    edges = edges_seconds(given)
    assert begun == ("guitar", edges[30], None, pytest.approx(0.7))
    assert over == ("guitar", edges[30], edges[35], pytest.approx(0.9))
    # The middle of the third window is the first that lies a second after the edge.
    assert (said[32], said[35]) == ([begun], [over])
    assert str(begun) == "guitar from 10.2 s"
    assert str(over) == "guitar 10.2 to 12.7 s"
    assert events.segments == [over]


def test_an_end_waits_for_a_beginning_before_it() -> None:
    scores = np.zeros((60, 3))
    scores[30:36, 0] = 0.9  # guitar is over at the 36th window
    scores[35:45, 1] = 0.9  # piano began at the 35th, which is sure after two more
    given = hops(scores)
    _, said = run(given, Smoothing(1.0, 0.8))
    edges = edges_seconds(given)
    assert said[36] == []
    assert said[37] == [
        Event("piano", edges[35], None, pytest.approx(0.9)),
        Event("guitar", edges[30], edges[36], pytest.approx(0.9)),
    ]


def test_silence_ends_every_tag_and_is_an_event_itself() -> None:
    given = hops(np.full((60, 3), 0.9))
    given[30:40] = [replace(hop, is_silent=True) for hop in given[30:40]]
    events, said = run(given, Smoothing(1.0, 0.8))
    edges = edges_seconds(given)
    assert said[30] == [
        Event(tag, 0.0, edges[30], pytest.approx(0.9)) for tag in TAGGING.vocabulary
    ]
    assert said[32] == [Silence(edges[30], None)]
    assert said[40] == [Silence(edges[30], edges[40])]
    assert events.silences == [Segment(edges[30], edges[40])]
    assert str(said[40][0]) == "silence 10.2 to 15.2 s"
    # A threshold of 0 makes no tag of silence.
    silent = [replace(hop, is_silent=True) for hop in given]
    tagging = TAGGING.model_copy(update={"thresholds": [0.0, 0.0, 0.0]})
    quiet = TagEvents(tagging)
    assert [each for hop in silent for each in quiet.push(hop)] == [Silence(0.0, None)]
    assert quiet.finish(30.0) == [Silence(0.0, 30.0)]


def test_a_stretch_that_is_shorter_than_the_minimum_is_never_said() -> None:
    scores = np.zeros((40, 3))
    scores[30] = 0.99
    events, said = run(hops(scores), Smoothing(1.0, 0.8))
    assert not any(said) and not events.segments


def test_the_end_ends_what_is_heard() -> None:
    given = hops(np.full((3, 3), 0.9))
    events = TagEvents(TAGGING, Smoothing(0.5))
    for hop in given:
        events.push(hop)
    assert events.finish(1.77) == [
        Event(tag, 0.0, 1.77, pytest.approx(0.9)) for tag in TAGGING.vocabulary
    ]
    assert events.finish(1.77) == []
    assert TagEvents(TAGGING).finish(0.0) == []


def test_a_stream_of_days_keeps_the_newest_segments() -> None:
    events = TagEvents(TAGGING, Smoothing(0.0, 1.0))
    scores = np.tile([[0.9, 0.0, 0.0], [0.0, 0.0, 0.0]], (10_500, 1))
    for hop in hops(scores):
        events.push(hop)
    assert len(events.segments) == 10_000
    assert events.segments[-1].end_seconds == pytest.approx(10_500 - 5.25, abs=0.1)


@pytest.mark.parametrize("minimum_seconds", [-1, np.nan, np.inf])
def test_an_impossible_minimum_is_refused(minimum_seconds: float) -> None:
    with pytest.raises(UsageError, match="a minimum of"):
        Smoothing(minimum_seconds)


@pytest.mark.parametrize("release", [0, -0.5, 1.01, np.nan])
def test_an_impossible_release_is_refused(release: float) -> None:
    with pytest.raises(UsageError, match="a release of"):
        Smoothing(release=release)


def test_hops_that_make_no_sense_are_refused() -> None:
    first, second = hops(np.zeros((2, 3)))
    events = TagEvents(TAGGING)
    with pytest.raises(UsageError, match="without tags"):
        events.push(Hop(0, 2, {"features": np.zeros((50, 8), np.float32)}, False))
    events.push(second)
    for hop in (first, second):
        with pytest.raises(UsageError, match="after a later one"):
            events.push(hop)
    with pytest.raises(UsageError, match=r"ended at 0\.20 s"):
        events.finish(0.2)
