"""Embeddings, features and tokens on disk: whole files only, and none computed twice."""

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Literal

import numpy as np

from ...common.console import progress, show
from ...common.files import atomic_file
from ...errors import AudioError, MissingDependencyError, UsageError
from ...runtime.audio.tracks import AudioFile

if TYPE_CHECKING:
    from ...runtime.engines.session import Session
    from ...runtime.model import Model

CLAIM_FILE = "muqrt.json"
Kind = Literal["embeddings", "features", "tokens"]
_SHOWN_VALUES = 4


@dataclass
class Task:
    """One audio file on its way to a file (or to the screen, when ``output`` is None).

    ``name`` is what its result is called among those of other audio files.
    """

    audio: Path
    name: Path
    output: Path | None
    shape: tuple[int, ...] = ()
    values: np.ndarray | None = None
    error: str | None = None

    def document(self, values_as: str | None) -> dict[str, Any]:
        """The outcome for machines; the values, where there are any, by that name."""
        if self.error is not None:
            return {"audio": str(self.audio), "error": self.error}
        facts: dict[str, Any] = {"audio": str(self.audio), "shape": list(self.shape)}
        if self.output is not None:
            facts["output"] = str(self.output)
        if values_as is not None and self.values is not None:
            facts[values_as] = self.values.tolist()
        return facts

    def line(self) -> str:
        """The outcome for people."""
        if self.error is not None:
            return f"FAILED {self.error}"
        shape = " x ".join(map(str, self.shape))
        if self.output is not None:
            return f"{self.audio}: {shape} -> {self.output}"
        first = [] if self.values is None else self.values.flat[:_SHOWN_VALUES].tolist()
        shown = (f"{value:+.4f}" if isinstance(value, float) else str(value) for value in first)
        return f"{self.audio}: {shape}  [{' '.join(shown)} ...]"


def is_one_file(output: Path) -> bool:
    """Whether ``--output`` names one result's file rather than a folder of them."""
    return output.suffix == ".npy" and not output.is_dir()


def tasks_for(files: list[tuple[Path, Path]], output: Path | None) -> tuple[list[Task], int]:
    """What is still to be done, and how many results are there already.

    Args:
        files: audio files with the relative paths their results take in a folder.
        output: an .npy file for a single audio file, a folder otherwise.

    Raises:
        UsageError: an .npy file for several audio files, or two results of the same name.
    """
    if output is None:
        return [Task(audio, name, None) for audio, name in files], 0
    if is_one_file(output):
        if len(files) != 1:
            raise UsageError(f"{output}: one file for {len(files)} audio files; give a folder.")
        return [Task(*files[0], output)], 0
    if output.exists() and not output.is_dir():
        raise UsageError(f"{output}: a file is in the way; give a folder, or a name in .npy.")
    check_names(files)
    tasks = [Task(audio, name, output / f"{name}.npy") for audio, name in files]
    todo = [task for task in tasks if task.output is not None and not task.output.exists()]
    return todo, len(tasks) - len(todo)


def check_names(files: list[tuple[Path, Path]]) -> None:
    """Raise UsageError where two results would have the same name."""
    if len({name for _, name in files}) != len(files):
        raise UsageError("two audio files have the same name; do their folders one by one.")


@dataclass(frozen=True)
class RunManifest:
    """What a folder of results holds, noted in it, so that no later run mixes in anything else."""

    folder: Path
    artefact_sha256: str
    kind: Kind

    def check(self) -> None:
        """Raise UsageError when the folder holds results of another model or kind."""
        try:
            found = json.loads(self._note.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return
        except ValueError:
            found = None
        if found != self._facts:
            raise UsageError(
                f"{self.folder}: holds results of another model, or other ones than {self.kind} "
                f"({CLAIM_FILE} says which); give another folder."
            )

    def write(self) -> None:
        """Note it, once there is a result."""
        if not self._note.exists():
            with atomic_file(self._note) as temporary:
                temporary.write_text(json.dumps(self._facts) + "\n", encoding="utf-8")

    @property
    def _note(self) -> Path:
        return self.folder / CLAIM_FILE

    @property
    def _facts(self) -> dict[str, Any]:
        return {"artefact_sha256": self.artefact_sha256, "kind": self.kind}


def claim_on(output: Path | None, session: "Session", kind: Kind) -> RunManifest | None:
    """The claim on a folder of results, checked; none where ``output`` is no folder.

    Raises:
        UsageError: the folder holds results of another model or kind.
    """
    if output is None or is_one_file(output):
        return None
    claim = RunManifest(output, session.artefact_sha256, kind)
    claim.check()
    return claim


Save = Callable[[Task, np.ndarray], None]
# Of every file, in order: its path, and its result or what is wrong with it.
FileResults = Iterator[tuple[AudioFile, np.ndarray | AudioError]]


def save_npy(task: Task, values: np.ndarray, dtype: np.dtype | None = None) -> None:
    """Write an .npy file of its own; of that ``dtype``, where one is given."""
    assert task.output is not None
    with atomic_file(task.output) as temporary:
        np.save(temporary, values.astype(dtype or values.dtype, copy=False))


def run_tasks(tasks: list[Task], results: FileResults, save: Save = save_npy) -> Iterator[Task]:
    """Give each task its result, in order, saved if it has an output; one whose file cannot be
    used carries its error and stops no other."""
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


def run_feature_tasks(model: "Model", tasks: list[Task]) -> Iterator[Task]:
    """As ``run_tasks``, with features, which are written while they are computed."""
    for task in tasks:
        assert task.output is not None
        try:
            task.shape = _write_features(model, task.audio, task.output)
        except (AudioError, MissingDependencyError) as error:
            task.error = str(error)
        yield task


def _write_features(model: "Model", audio: Path, output: Path) -> tuple[int, int]:
    """Write features as they come, so that a three-hour file needs no more memory than a song."""
    steps = width = 0
    with atomic_file(output) as temporary, temporary.open("wb") as file:
        for _, block in model.stream_features(audio):
            if not steps:
                width = block.shape[1]
                _write_header(file, (0, width))
            file.write(np.ascontiguousarray(block, dtype="<f4").tobytes())
            steps += len(block)
        # numpy leaves room in its headers for the first dimension to grow.
        file.seek(0)
        _write_header(file, (steps, width))
    return steps, width


def _write_header(file: BinaryIO, shape: tuple[int, int]) -> None:
    header = {"descr": "<f4", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, header)


def run_all(
    title: str, running: Iterable[Task], total: int, claim: RunManifest | None
) -> list[Task]:
    """Every task, done, with a progress bar; the folder's ``claim`` is noted with the first
    result."""
    done = []
    with progress(title, total) as bar:
        for task in running:
            bar.advance(task.audio.name)
            if claim is not None and not task.error:
                claim.write()
            done.append(task)
    return done


def report(done: list[Task], kept: int, values_as: str, as_json: bool) -> None:
    """Show what became of every file; the values, as ``values_as``, where they went to no file.

    Raises:
        AudioError: a file could not be used.
    """
    documents = [task.document(values_as if as_json else None) for task in done]
    lines = [*(task.line() for task in done), *([f"{kept} already there, kept."] if kept else [])]
    show(as_json, {"results": documents, "kept": kept}, *lines)
    failed = [task for task in done if task.error]
    if failed:
        raise AudioError(f"{len(failed)} of {len(done)} files could not be used (see above).")
