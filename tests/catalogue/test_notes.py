"""Who may have ended a process, told by the names of notes."""

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


def test_an_attempt_that_was_done_with_its_tracks_blames_none() -> None:
    names = ["0001-aaaaaaaa-000000-000000a", "0001-aaaaaaaa-000001-000000f", "something else"]
    assert history(names, 2).suspects == []
