"""Embeddings, features and tokens on disk: whole files only, and none computed twice."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TypeVar

import numpy as np

from ...common.console import progress, show
from ...common.files import atomic_file
from ...errors import AudioError, MissingDependencyError, UsageError
from ...runtime.audio.damage import Damages
from ...runtime.audio.tracks import AudioFile
from ...runtime.inference.windows import WindowingConfig, WindowLength
from ..audio.files import AudioFiles
from ..audio.progress import AudioProgress
from .run_manifest import Kind, RunManifest

if TYPE_CHECKING:
    from ...runtime.engines.session import Session
    from ...runtime.inference.runner import OnWindow
    from ...runtime.model import Model
    from ..place import Local, Served

_Item = TypeVar("_Item")
_SHOWN_VALUES = 4


@dataclass
class Task:
    """One audio file, and what became of it.

    Attributes:
        audio: the audio file.
        name: what its result is called among those of other audio files.
        output: the file to write; None keeps the result in ``values``.
        shape: the result's.
        values: the result, where it goes to no file.
        error: why the audio file could not be used.
    """

    audio: Path
    name: Path
    output: Path | None
    shape: tuple[int, ...] = ()
    values: np.ndarray | None = None
    error: str | None = None

    def document(self, values_as: str | None) -> dict[str, Any]:
        """The outcome as JSON, with the values, where there are any, under ``values_as``."""
        if self.error is not None:
            return {"audio": str(self.audio), "error": self.error}
        facts: dict[str, Any] = {"audio": str(self.audio), "shape": list(self.shape)}
        if self.output is not None:
            facts["output"] = str(self.output)
        if values_as is not None and self.values is not None:
            facts[values_as] = self.values.tolist()
        return facts

    def line(self) -> str:
        """The outcome as a line of text."""
        if self.error is not None:
            return f"FAILED {self.error}"
        shape = " x ".join(map(str, self.shape))
        if self.output is not None:
            return f"{self.audio}: {shape} -> {self.output}"
        first = [] if self.values is None else self.values.flat[:_SHOWN_VALUES].tolist()
        shown = (f"{value:+.4f}" if isinstance(value, float) else str(value) for value in first)
        return f"{self.audio}: {shape}  [{' '.join(shown)} ...]"


Save = Callable[[Task, np.ndarray], None]
# Every file, in order: its path, and its result or what is wrong with it.
FileResults = Iterator[tuple[AudioFile, np.ndarray | AudioError]]


def save_npy(task: Task, values: np.ndarray, dtype: np.dtype | None = None) -> None:
    """Write a task's values to its .npy file, converted to ``dtype`` where one is given."""
    assert task.output is not None
    with atomic_file(task.output) as temporary:
        np.save(temporary, values.astype(dtype or values.dtype, copy=False))


@dataclass
class Tasks:
    """The audio files of one command, and where their results go.

    Attributes:
        tasks: what is still to be done.
        kept: how many results were there already.
        folder: the folder of results, where they go to one.
        windowing: how tracks are cut, where the results depend on it.
        skipped: files of the given folders that cannot be decoded here.
    """

    tasks: list[Task]
    kept: int = 0
    folder: Path | None = None
    windowing: WindowingConfig | None = None
    skipped: list[Path] = field(default_factory=list)

    @classmethod
    def for_files(cls, given: AudioFiles, output: Path | None) -> "Tasks":
        """Give every result a file of its own, or none.

        Args:
            given: the audio files.
            output: an .npy file for a single audio file, a folder for several, or None.

        Raises:
            UsageError: an .npy file for several audio files, or two results of the same name.
        """
        files, skipped = given.files, given.skipped
        if output is None:
            return cls([Task(audio, name, None) for audio, name in files], skipped=skipped)
        if output.suffix == ".npy" and not output.is_dir():
            if len(files) != 1:
                raise UsageError(f"{output}: one file for {len(files)} audio files; give a folder.")
            return cls([Task(*files[0], output)], skipped=skipped)
        if output.exists() and not output.is_dir():
            raise UsageError(f"{output}: a file is in the way; give a folder, or a name in .npy.")
        _check_names(files)
        paths = [(*file, output / f"{file[1]}.npy") for file in files]
        todo = [Task(*each) for each in paths if not each[-1].exists()]
        return cls(todo, len(files) - len(todo), output, skipped=skipped)

    @classmethod
    def for_archive(cls, given: AudioFiles, archive: Path) -> "Tasks":
        """Put every result into one file, under the name given with its audio file."""
        _check_names(given.files)
        tasks = [Task(audio, name, archive) for audio, name in given]
        return cls(tasks, skipped=given.skipped)

    @property
    def audio(self) -> list[Path]:
        """The audio files that are still to be used."""
        return [task.audio for task in self.tasks]

    def run(
        self,
        title: str,
        session: "Session",
        kind: Kind,
        running: Iterator[Task],
        heard: AudioProgress,
    ) -> None:
        """Run the tasks with a progress bar of this title.

        Args:
            title: the progress bar's.
            session: what computes the results.
            kind: what they are.
            running: what ``with_results`` or ``with_features`` returns.
            heard: told of every window.
        """
        with ExitStack() as claims:
            if self.folder is not None:
                manifest = RunManifest(
                    self.folder, session.artefact_sha256, kind, *self._windowings(session)
                )
                claims.enter_context(manifest.claimed())
                running = _noted(running, manifest)
            heard.collect(title, running, lambda task: task.audio.name)

    def _windowings(self, session: "Session") -> list[dict[str, Any]]:
        """How tracks are cut, and how they are when nothing is said."""
        if self.windowing is None:
            return []
        return [self.windowing.facts, WindowingConfig.of(session.framing).facts]

    def report(
        self, values_as: str, place: "Local | Served", as_json: bool, damages: Damages
    ) -> None:
        """Show what became of every file.

        Args:
            values_as: the JSON's key for values that went to no file.
            place: where the model ran.
            as_json: print JSON.
            damages: the files that are damaged.

        Raises:
            AudioError: a file could not be used.
        """
        documents = [
            task.document(values_as if as_json else None) | damages.facts(task.audio)
            for task in self.tasks
        ]
        lines = [line for task in self.tasks for line in (task.line(), *damages.lines(task.audio))]
        if self.kept:
            lines.append(f"{self.kept} already there, kept.")
        facts: dict[str, Any] = {
            "model": place.model_name,
            "results": documents,
            "kept": self.kept,
            "skipped": [str(path) for path in self.skipped],
        }
        if self.windowing is not None:
            facts["windowing"] = self.windowing.facts
        show(as_json, facts, *lines, place.credit)
        refuse_failures(sum(task.error is not None for task in self.tasks), len(self.tasks))


def collect(
    title: str, running: Iterable[_Item], total: int, name: Callable[[_Item], object]
) -> list[_Item]:
    """Everything that an iterator yields, with a progress bar that shows each item's name."""
    done = []
    with progress(title, total) as bar:
        for item in running:
            bar.advance(name(item))
            done.append(item)
    return done


def refuse_failures(failed: int, total: int) -> None:
    """Raise AudioError if files could not be used; what was wrong has been shown."""
    if failed:
        raise AudioError(f"{failed} of {total} files could not be used (see above).")


def _check_names(files: list[tuple[Path, Path]]) -> None:
    if len({name for _, name in files}) != len(files):
        raise UsageError("two audio files have the same name; do their folders one by one.")


def _noted(running: Iterator[Task], manifest: RunManifest) -> Iterator[Task]:
    """The tasks; the folder's manifest is written again where another process has withdrawn it."""
    for task in running:
        if task.error is None:
            manifest.write()
        yield task


def with_results(tasks: list[Task], results: FileResults, save: Save = save_npy) -> Iterator[Task]:
    """Give each task its result, saved if it has an output, or what is wrong with its file."""
    for task, (_, result) in zip(tasks, results, strict=True):
        if isinstance(result, AudioError):
            task.error = str(result)
        else:
            task.shape = result.shape
            if task.output is None:
                task.values = result
            else:  # a library's results need not stay in memory
                save(task, result)
        yield task


def with_features(
    tasks: list[Task], model: "Model", window: WindowLength | None, on_window: "OnWindow"
) -> Iterator[Task]:
    """Write each task's features while they are computed."""
    for task in tasks:
        assert task.output is not None
        try:
            features = model.stream_features(task.audio, on_window=on_window, window=window)
            task.shape = _write_features(features, task.output)
        except (AudioError, MissingDependencyError) as error:
            task.error = str(error)
        yield task


def _write_features(features: Iterator[tuple[int, np.ndarray]], output: Path) -> tuple[int, ...]:
    """Write features as they come, so that a three-hour file needs no more memory than a song."""
    steps, inner = 0, ()
    with atomic_file(output) as temporary, temporary.open("wb") as file:
        for _, block in features:
            if not steps:
                inner = block.shape[1:]
                _write_header(file, (0, *inner))
            file.write(np.ascontiguousarray(block, dtype="<f4").tobytes())
            steps += len(block)
        # numpy leaves room in its headers for the first dimension to grow.
        file.seek(0)
        _write_header(file, (steps, *inner))
    return steps, *inner


def _write_header(file: BinaryIO, shape: tuple[int, ...]) -> None:
    header = {"descr": "<f4", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, header)
