"""Embeddings and features on disk: whole files only, and none computed twice."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from ..errors import AudioError, MissingDependencyError, UsageError
from ..files import atomic_file

if TYPE_CHECKING:
    from .model import Model

CLAIM_FILE = "muqrt.json"
_SHOWN_VALUES = 4


@dataclass
class Task:
    """One audio file on its way to one .npy file (or to the screen, when ``output`` is None)."""

    audio: Path
    output: Path | None
    shape: tuple[int, ...] = ()
    values: np.ndarray | None = None
    error: str | None = None

    def document(self, with_values: bool) -> dict[str, Any]:
        """The outcome for machines."""
        if self.error is not None:
            return {"audio": str(self.audio), "error": self.error}
        facts: dict[str, Any] = {"audio": str(self.audio), "shape": list(self.shape)}
        if self.output is not None:
            facts["output"] = str(self.output)
        if with_values and self.values is not None:
            facts["embedding"] = self.values.tolist()
        return facts

    def line(self) -> str:
        """The outcome for people."""
        if self.error is not None:
            return f"FAILED {self.error}"
        shape = " x ".join(map(str, self.shape))
        if self.output is not None:
            return f"{self.audio}: {shape} -> {self.output}"
        first = [] if self.values is None else self.values[:_SHOWN_VALUES].tolist()
        return f"{self.audio}: {shape}  [{' '.join(f'{value:+.4f}' for value in first)} ...]"


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
        return [Task(audio, None) for audio, _ in files], 0
    if is_one_file(output):
        if len(files) != 1:
            raise UsageError(f"{output}: one file for {len(files)} audio files; give a folder.")
        return [Task(files[0][0], output)], 0
    if output.exists() and not output.is_dir():
        raise UsageError(f"{output}: a file is in the way; give a folder, or a name in .npy.")
    targets = {output / f"{relative}.npy": audio for audio, relative in files}
    if len(targets) != len(files):
        raise UsageError("two audio files have the same name; embed their folders one by one.")
    todo = [Task(audio, target) for target, audio in targets.items() if not target.exists()]
    return todo, len(files) - len(todo)


@dataclass(frozen=True)
class Claim:
    """What a folder of results holds, noted in it, so that no later run mixes in anything else."""

    folder: Path
    artefact_sha256: str
    features: bool

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
                f"{self.folder}: holds results of another model, or features beside embeddings "
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
        return {"artefact_sha256": self.artefact_sha256, "features": self.features}


def run_tasks(model: "Model", tasks: list[Task], features: bool) -> Iterator[Task]:
    """Do the tasks, in order; a file that cannot be used carries its error and stops no other."""
    if features:
        for task in tasks:
            assert task.output is not None
            try:
                task.shape = _write_features(model, task.audio, task.output)
            except (AudioError, MissingDependencyError) as error:
                task.error = str(error)
            yield task
        return
    results = model.embed_files([task.audio for task in tasks])
    for task, (_, result) in zip(tasks, results, strict=True):
        if isinstance(result, AudioError):
            task.error = str(result)
        else:
            task.shape, task.values = result.shape, result
            if task.output is not None:
                with atomic_file(task.output) as temporary:
                    np.save(temporary, result)
                task.values = None  # a library's embeddings need not stay in memory
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
