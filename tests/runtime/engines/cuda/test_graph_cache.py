from muqrt.runtime.engines.cuda.graph_cache import CudaGraphCache


def test_the_one_not_used_for_longest_goes() -> None:
    forgotten: list[str] = []
    kept = CudaGraphCache[str](2, forgotten.append)
    assert not kept.ran_before("a") and kept.ran_before("a")
    assert kept.get("a") is None
    kept.put("a", "A")
    kept.put("b", "B")
    assert kept.get("a") == "A"
    kept.put("c", "C")
    assert forgotten == ["B"]
    assert kept.get("b") is None and not kept.ran_before("b")  # which counts as used: "a" goes
    assert forgotten == ["B", "A"]
    kept.clear()
    assert forgotten == ["B", "A", "C"]
    assert kept.get("c") is None and not kept.ran_before("c")
