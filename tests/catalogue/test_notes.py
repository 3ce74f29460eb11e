"""Who may have ended a process, told by the names of notes."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from muqrt.catalogue.notes import history


def test_without_notes_nobody_is_suspected() -> None:
    found = history([], 5)
    assert (found.attempts, found.begun, found.suspects, found.dead) == (0, frozenset(), [], {})


def test_tracks_in_flight_are_suspects() -> None:
    names = [f"0001-aaaaaaaa-{place:06}-{place:06}" for place in (1, 0, 2, 4, 3)]
    found = history(names, 3)
    assert found.suspects == [2, 3, 4]
    assert found.begun == {0, 1, 2, 3, 4}


def test_who_was_alone_comes_first_and_is_dead_after_the_second_time() -> None:
    names = [f"0001-aaaaaaaa-{place:06}-{place:06}" for place in range(3)]
    names += ["0002-bbbbbbbb-000000-000001a", "0002-bbbbbbbb-000001-000002a"]
    found = history(names, 2)
    assert (found.attempts, found.suspects, found.dead) == (2, [2, 1], {})
    names += ["0003-cccccccc-000000-000002a"]
    found = history(names, 2)
    assert (found.attempts, found.suspects, found.dead) == (3, [1], {2: 3})


def test_whose_result_is_kept_is_no_suspect() -> None:
    names = [f"0001-aaaaaaaa-{place:06}-{place:06}" for place in range(3)]
    names += ["0002-bbbbbbbb-000000-000001a", "0002-bbbbbbbb-000001-000001k"]
    found = history(names, 2)
    assert (found.suspects, found.kept) == ([2], {1: names[-1]})


def test_an_attempt_that_was_done_with_its_tracks_blames_none() -> None:
    names = ["0001-aaaaaaaa-000000-000000a", "0001-aaaaaaaa-000001-000000f", "something else"]
    assert history(names, 2).suspects == []


TRACKS = 12


@given(
    poisoned=st.sets(st.integers(0, TRACKS - 1)),
    threads=st.integers(1, 3),
    killed_after=st.none() | st.integers(0, TRACKS),
    data=st.data(),
)
def test_every_poisoned_track_is_found_and_no_other_is_blamed(
    poisoned: set[int], threads: int, killed_after: int | None, data: st.DataObject
) -> None:
    """Attempts until one ends, the first of them perhaps killed by something else."""
    in_flight, notes, begun = 2 * threads + 1, list[str](), Counter[int]()
    for attempt in range(1, 3 * TRACKS + 3):
        found = history(notes, in_flight)
        assert found.dead.keys() <= poisoned
        assert not found.dead.keys() & set(found.suspects)
        written = list[tuple[int, str]]()
        known = {*found.dead, *found.kept}
        ends = _attempt(found.suspects, known, poisoned, in_flight, written, data)
        if attempt == 1 and killed_after is not None:
            written, ends = written[:killed_after], False
        name = f"{attempt:04}-{attempt:08x}"
        notes += [f"{name}-{n:06}-{place:06}{kind}" for n, (place, kind) in enumerate(written)]
        begun.update(place for place, kind in written if kind in ("", "a"))
        if ends:
            assert found.dead.keys() == poisoned
            good = [begun[place] for place in range(TRACKS) if place not in poisoned]
            assert max(good, default=0) <= 1 + len(poisoned) + (killed_after is not None)
            return
    raise AssertionError("it never ends")


def _attempt(
    suspects: list[int],
    known: set[int],
    poisoned: set[int],
    in_flight: int,
    written: list[tuple[int, str]],
    data: st.DataObject,
) -> bool:
    """Write an attempt's notes; whether it ends well."""
    for place in suspects:
        written.append((place, "a"))
        if place in poisoned:
            return False
        written.append((place, "k"))
    rest = [place for place in range(TRACKS) if place not in known.union(suspects)]
    for index, place in enumerate(rest):
        if place in poisoned:  # it dies after some of those behind it were begun, too
            begun = data.draw(st.integers(1, in_flight))
            written += [(each, "") for each in rest[index : index + begun]]
            return False
        written.append((place, ""))
    return True
