"""A signal waits for the end of what must not be stopped half-way."""

import threading
from collections.abc import Iterator

import pytest

from muqrt.common.interrupts import forget, interrupt, interrupt_once, is_interrupted, uninterrupted


@pytest.fixture(autouse=True)
def anew() -> Iterator[None]:
    forget()
    yield
    forget()


def test_at_once_or_at_the_end_of_the_outermost_block() -> None:
    with pytest.raises(KeyboardInterrupt):
        interrupt()
    done = []
    with pytest.raises(KeyboardInterrupt), uninterrupted():
        with uninterrupted():
            interrupt()
            done.append("inner")
        interrupt()
        done.append("outer")
    assert done == ["inner", "outer"]
    with uninterrupted():  # not once more
        pass


@pytest.mark.parametrize("error", [None, ValueError])
def test_an_error_in_the_block_is_the_context(error: type[Exception] | None) -> None:
    with pytest.raises(KeyboardInterrupt) as raised, uninterrupted():
        interrupt()
        if error is not None:
            raise error
    assert isinstance(raised.value.__context__, error or type(None))


def test_once() -> None:
    assert not is_interrupted()
    with pytest.raises(KeyboardInterrupt):
        interrupt_once()
    interrupt_once()
    assert is_interrupted()


def test_another_threads_block_holds_nothing_up() -> None:
    inside, leave = threading.Event(), threading.Event()

    def stay() -> None:
        with uninterrupted():
            inside.set()
            leave.wait()

    other = threading.Thread(target=stay)
    other.start()
    inside.wait()
    try:
        with pytest.raises(KeyboardInterrupt):
            interrupt()
    finally:
        leave.set()
        other.join()
