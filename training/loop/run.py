"""A training run on disk: its settings, its newest state, its history, what was skipped."""

import json
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from ...common.documents import read_json
from ...common.files import atomic_file, atomic_folder, is_partial
from ...common.lock import LOCK_FILE, locked
from ...errors import CheckpointError, UsageError
from ...reference.stored import save_tensors
from ..data.crops import Skipped

SETTINGS_FILE = "settings.json"
STATE_FOLDER = "state"
SKIPPED_FILE = "skipped.jsonl"
LOG_FOLDER = "log"
_FACTS = ("step", "seconds", "history", "pieces")


@dataclass
class State:
    """Where a run stands.

    Attributes:
        step: steps done.
        seconds: spent training so far.
        history: what was logged, one row each time.
        tensors: by file, such as "weights" or "optimizer".
        pieces: where each stretch without a break was trained.
    """

    step: int = 0
    seconds: float = 0.0
    history: list[dict[str, float]] = field(default_factory=list)
    tensors: dict[str, dict[str, Tensor]] = field(default_factory=dict)
    pieces: list[dict[str, Any]] = field(default_factory=list)


class Run:
    """A run's folder. Starting again with the same settings goes on where the last state was saved.

    Args:
        folder: made when it is not there.
        settings: everything that decides the weights.

    Raises:
        UsageError: the folder is of a run with other settings, or holds something else.
    """

    def __init__(self, folder: Path, settings: Mapping[str, Any]) -> None:
        self.folder = folder
        self._skipped: set[Path] = set()
        settings = json.loads(json.dumps(dict(settings), default=str))
        path = folder / SETTINGS_FILE
        if not path.is_file():
            _check_unused(folder)
            with locked(folder):
                if not path.is_file():  # another process may have begun the run meanwhile
                    with atomic_file(path) as temporary:
                        temporary.write_text(json.dumps(settings, indent=2) + "\n", "utf-8")
        _check_same(path, settings)

    def lock(self) -> AbstractContextManager[None]:
        """Be the only process that trains here; waits for another one that does."""
        return locked(self.folder)

    def load_state(self) -> State:
        """The newest state, or one at step 0.

        Raises:
            CheckpointError: it cannot be read.
        """
        folder = self.folder / STATE_FOLDER
        if not folder.is_dir():
            return State()
        try:
            facts = json.loads((folder / "progress.json").read_text(encoding="utf-8"))
            tensors = {path.stem: load_file(path) for path in folder.glob("*.safetensors")}
            return State(**facts, tensors=tensors)
        except (OSError, ValueError, TypeError, RecursionError, SafetensorError) as error:
            raise CheckpointError(
                f"{folder}: cannot be resumed from ({error}). Remove it to start over."
            ) from None

    def save_state(self, state: State) -> None:
        """Replace the newest state, whole or not at all."""
        with atomic_folder(self.folder / STATE_FOLDER) as temporary:
            facts = {name: vars(state)[name] for name in _FACTS}
            (temporary / "progress.json").write_text(json.dumps(facts), encoding="utf-8")
            for name, tensors in state.tensors.items():
                save_tensors(tensors, temporary / f"{name}.safetensors")

    def skip(self, files: Iterable[Skipped]) -> None:
        """Note files that were left out, each once; several processes may do so at a time."""
        path = self.folder / SKIPPED_FILE
        if not self._skipped and path.is_file():
            self._skipped = {each.path for each in self.skipped()}
        for each in files:
            if each.path not in self._skipped:
                self._skipped.add(each.path)
                line = json.dumps({"audio": str(each.path), "reason": each.reason})
                with path.open("a", encoding="utf-8") as file:
                    file.write(line + "\n")

    def skipped(self) -> list[Skipped]:
        """What was left out so far."""
        path = self.folder / SKIPPED_FILE
        if not path.is_file():
            return []
        found: dict[Path, Skipped] = {}
        for line in path.read_text(encoding="utf-8").splitlines():
            with suppress(ValueError, KeyError):  # the last line of a killed run may be cut
                document = json.loads(line)
                audio = Path(document["audio"])
                found.setdefault(audio, Skipped(audio, document["reason"]))
        return list(found.values())


def _check_unused(folder: Path) -> None:
    if folder.is_dir():
        names = {Path(each.name) for each in folder.iterdir()} - {Path(LOCK_FILE)}
        if all(map(is_partial, names)):
            return
    if folder.exists():
        raise UsageError(f"{folder}: holds something other than a run; choose another folder.")


def _check_same(path: Path, settings: Mapping[str, Any]) -> None:
    try:
        older = read_json(path)
        differing = [k for k in {**older, **settings} if older.get(k) != settings.get(k)]
    except (OSError, ValueError, AttributeError) as error:
        raise UsageError(f"{path}: cannot be read ({error}); choose another folder.") from None
    if differing:
        was = "; ".join(f"{k} was {older.get(k)!r}, is {settings.get(k)!r}" for k in differing)
        raise UsageError(
            f"{path.parent}: a run with other settings ({was}). Choose another folder, or "
            "remove this one."
        )
