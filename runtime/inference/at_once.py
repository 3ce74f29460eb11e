"""Several tracks at once, each in a thread of its own, with their results in order.

A run of the model on two threads waits for the slower of them at every operator, and both wait
while Python cuts windows and adds up results. Two tracks on a thread each do not.
"""

from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from queue import SimpleQueue
from threading import Event
from typing import TypeVar

from ...errors import AudioError, MissingDependencyError
from ..audio.tracks import Track
from .results import Results
from .runner import OnWindow
from .windows import Window

_Result = TypeVar("_Result")
ResultsOf = Callable[[Iterable[Track], OnWindow | None], Results[_Result]]
FILES_AT_ONCE = 2  # of many; more would take more memory
# A long track does not keep the others waiting before so many more are done.
_TRACKS_AHEAD = 4


class _Stopped(Exception):  # noqa: N818 - ends a thread whose results nobody wants any more
    pass


def at_once(
    results_of: ResultsOf[_Result],
    tracks: Iterable[Track],
    most: int,
    on_window: OnWindow | None = None,
) -> Results[_Result]:
    """``results_of(tracks, on_window)``, with up to ``most`` tracks running at once.

    Args:
        results_of: gives the result of every track that it gets; called with one track at a time,
            in several threads.
        tracks: read lazily, a few ahead.
        most: how many at once.
        on_window: called in this thread, in the tracks' order, with windows that have given away
            their samples, which would otherwise wait in memory for the tracks before.
    """
    if most == 1:
        yield from results_of(tracks, on_window)
        return
    stopped = Event()
    running: deque[_Running[_Result]] = deque()
    with ThreadPoolExecutor(most, thread_name_prefix="track") as threads:
        try:
            for track in tracks:
                running.append(SimpleQueue())
                threads.submit(_run, results_of, track, running[-1], stopped)
                if len(running) > most + _TRACKS_AHEAD:
                    yield _result(running.popleft(), on_window)
            while running:
                yield _result(running.popleft(), on_window)
        finally:
            stopped.set()


_Found = tuple[Track, _Result | AudioError | MissingDependencyError]
# What a track's thread has found so far: its windows, then its result or what stopped the thread.
_Running = SimpleQueue[Window | _Found[_Result] | BaseException]


def _run(
    results_of: ResultsOf[_Result], track: Track, found: "_Running[_Result]", stopped: Event
) -> None:
    def heard(window: Window) -> None:
        if stopped.is_set():
            raise _Stopped
        # A copy: a view would keep all the samples.
        found.put(replace(window, waveform=window.waveform[:0].copy()))

    try:
        if not stopped.is_set():
            for result in results_of([track], heard):
                found.put(result)
    except BaseException as error:  # it is raised again where the results are read
        found.put(error)


def _result(found: "_Running[_Result]", on_window: OnWindow | None) -> _Found[_Result]:
    while True:
        item = found.get()
        if isinstance(item, BaseException):
            raise item
        if not isinstance(item, Window):
            return item
        if on_window is not None:
            on_window(item)
