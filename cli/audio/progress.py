"""Progress through audio files, in seconds of audio."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from ...common.console import Bar, clock, progress
from ...runtime.audio.length import header_seconds

if TYPE_CHECKING:
    from ...runtime.bundle.manifest import Framing
    from ...runtime.inference.windows import Window

_Item = TypeVar("_Item")
# Of a file whose header does not tell its length: 128 kbit/s.
_USUAL_BYTES_PER_SECOND = 16_000.0


class AudioProgress:
    """A bar over the seconds of audio in files, which moves with every window of a long one.

    Args:
        audio: the files, in the order in which they are done.
        framing: of the model that they go through.
    """

    def __init__(self, audio: Sequence[Path], framing: "Framing") -> None:
        self._audio, self._framing = audio, framing
        self._bar: Bar | None = None
        self._left = _Estimate()
        self._files_done = 0
        self._done_seconds = self._current_seconds = 0.0
        self._doing: object = ""

    def on_window(self, window: "Window") -> None:
        """Count the part of a window that no other has."""
        self._current_seconds += len(window.keep) / self._framing.steps_per_second
        self._show()

    def collect(
        self, title: str, running: Iterable[_Item], name: Callable[[_Item], object]
    ) -> list[_Item]:
        """Every file's result, in order, with a bar that shows the name of the newest."""
        done = []
        with progress(title, None, clock) as bar:
            if bar.is_shown:
                self._bar, self._left = bar, _Estimate(self._audio)
                self._show()
            for item in running:
                self._left.done(self._audio[self._files_done], self._current_seconds)
                self._files_done += 1
                self._done_seconds += self._current_seconds
                self._current_seconds = 0.0
                self._doing = name(item)
                self._show()
                done.append(item)
        return done

    def _show(self) -> None:
        if self._bar is not None:
            left_seconds = max(self._left.seconds, self._current_seconds)
            done_seconds = self._done_seconds + self._current_seconds
            self._bar.move_to(done_seconds, self._done_seconds + left_seconds, self._doing)


class _Estimate:
    """How long files are together, by their sizes.

    The first file of each suffix tells by its header how many bytes there are to a second, and
    every file that has been read corrects it.
    """

    def __init__(self, audio: Sequence[Path] = ()) -> None:
        self._bytes_left = Counter[str]()
        # Bytes and seconds of the files that are known, by suffix.
        self._known: dict[str, tuple[float, float]] = {}
        for path in audio:
            suffix, size_bytes = path.suffix.lower(), _size_bytes(path)
            self._bytes_left[suffix] += size_bytes
            if suffix not in self._known and size_bytes:
                seconds = header_seconds(path)
                if seconds is not None:
                    self._known[suffix] = (size_bytes, seconds)

    @property
    def seconds(self) -> float:
        """How long the files are that are not done."""
        return sum(
            size / self._bytes_per_second(suffix) for suffix, size in self._bytes_left.items()
        )

    def _bytes_per_second(self, suffix: str) -> float:
        known_bytes, seconds = self._known.get(suffix, (_USUAL_BYTES_PER_SECOND, 1.0))
        return known_bytes / seconds

    def done(self, path: Path, seconds: float) -> None:
        """Take out a file that was that long; 0 s if it could not be used."""
        suffix, size_bytes = path.suffix.lower(), _size_bytes(path)
        if suffix not in self._bytes_left:
            return
        self._bytes_left[suffix] = max(0, self._bytes_left[suffix] - size_bytes)
        if seconds and size_bytes:
            known_bytes, known_seconds = self._known.get(suffix, (0.0, 0.0))
            self._known[suffix] = (known_bytes + size_bytes, known_seconds + seconds)


def _size_bytes(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:  # reading it will say what is wrong
        return 0
