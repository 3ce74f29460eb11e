"""Run an iterator ahead of its consumer, in a thread."""

from collections.abc import Generator
from contextlib import closing
from queue import SimpleQueue
from threading import Thread
from typing import TypeVar

_Item = TypeVar("_Item")


def prefetch(items: Generator[_Item, None, None], most: int) -> Generator[_Item, None, None]:
    """Yield the same items in the same order, with up to ``most`` of them made in advance.

    An error is raised at its place among the items. When this generator is closed or garbage
    collected, the thread closes ``items`` and ends.
    """
    # The garbage collector may close this generator in the middle of anything, so that must not
    # wait for a lock: a SimpleQueue's put never does.
    made: SimpleQueue[tuple[_Item] | BaseException | None] = SimpleQueue()
    taken: SimpleQueue[None] = SimpleQueue()
    stopped = False

    def make() -> None:
        try:
            with closing(items):
                for item in items:
                    made.put((item,))
                    taken.get()
                    if stopped:
                        return
            made.put(None)
        except BaseException as error:
            made.put(error)

    for _ in range(most - 1):
        taken.put(None)
    # A daemon, for a program may end with this generator half used.
    Thread(target=make, name="prefetch", daemon=True).start()
    try:
        while isinstance(found := made.get(), tuple):
            taken.put(None)
            yield found[0]
        if found is not None:
            raise found
    finally:
        stopped = True
        taken.put(None)
