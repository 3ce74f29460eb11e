"""The note in a folder of results that says which model they are from."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ...common.documents import read_json
from ...common.files import atomic_file
from ...common.interrupts import uninterrupted
from ...common.lock import LOCK_FILE, locked
from ...errors import UsageError

RUN_MANIFEST_FILE = "muqrt.json"
_WINDOWING = "windowing"
Kind = Literal["embeddings", "features", "tokens"]


@dataclass(frozen=True)
class RunManifest:
    """A file in a folder of results that says what they are, so that no run mixes in others.

    Attributes:
        folder: the folder.
        artefact_sha256: the artefact's hash.
        kind: of the results.
        windowing: how tracks are cut, where the results depend on it.
        usual_windowing: what a file that does not say stands for.
    """

    folder: Path
    artefact_sha256: str
    kind: Kind
    windowing: Mapping[str, Any] | None = None
    usual_windowing: Mapping[str, Any] | None = None

    @contextmanager
    def claimed(self) -> Iterator[None]:
        """Say in the folder what it holds, before anything is; without any result it is as before.

        Raises:
            UsageError: the folder holds results of another model or kind.
        """
        self.check()  # makes nothing where it fails
        made = [each for each in (self.folder, *self.folder.parents) if not each.exists()]
        try:
            self.write()
            yield
        finally:
            with suppress(OSError, UsageError), uninterrupted():
                self._withdraw(made)

    def check(self) -> None:
        """Raise UsageError if the folder holds results of another model or kind."""
        try:
            found = read_json(self._file)
        except FileNotFoundError:
            return
        except ValueError:
            found = None
        if self.windowing is not None and isinstance(found, dict):
            found.setdefault(_WINDOWING, self.usual_windowing)
        if found != self._facts:
            raise UsageError(
                f"{self.folder}: holds results of another model, of other windows, or other ones "
                f"than {self.kind} ({RUN_MANIFEST_FILE} says which); choose another folder."
            )

    def write(self) -> None:
        """Write the file, unless it is there; raises UsageError as ``check`` does."""
        if not self._file.exists():
            with locked(self.folder):
                self.check()  # another process may have written it meanwhile
                with atomic_file(self._file) as temporary:
                    temporary.write_text(json.dumps(self._facts) + "\n", encoding="utf-8")

    def _withdraw(self, made: Sequence[Path]) -> None:
        own = {RUN_MANIFEST_FILE, LOCK_FILE}
        with locked(self.folder):
            self.check()  # another process may have made it its own meanwhile
            if {each.name for each in self.folder.iterdir()} <= own:
                self._file.unlink(missing_ok=True)
        for each in made:
            each.rmdir()  # fails where it is not empty

    @property
    def _file(self) -> Path:
        return self.folder / RUN_MANIFEST_FILE

    @property
    def _facts(self) -> dict[str, Any]:
        facts: dict[str, Any] = {"artefact_sha256": self.artefact_sha256, "kind": self.kind}
        if self.windowing is not None:
            facts[_WINDOWING] = dict(self.windowing)
        return facts
