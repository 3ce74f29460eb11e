from muqrt.common.lru import Lru


def test_the_one_not_used_for_longest_is_dropped() -> None:
    dropped: list[str] = []
    kept = Lru[int, str](2, dropped.append)
    kept.put(1, "a")
    kept.put(2, "b")
    assert kept.get(1) == "a"
    kept.put(3, "c")
    assert dropped == ["b"] and 2 not in kept and kept.get(2) is None
    kept.put(1, "A")  # replaced, and used
    kept.put(4, "d")
    assert dropped == ["b", "c"]
    kept.clear()
    assert dropped == ["b", "c", "A", "d"] and 1 not in kept
