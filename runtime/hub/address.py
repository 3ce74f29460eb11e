"""Where a bundle is on the Hugging Face hub: ``hf://user/name`` or ``hf://user/name@revision``."""

import re
from dataclasses import dataclass
from os import PathLike, fspath
from typing import Any

from ...errors import UsageError

# A path joins the two slashes.
_SCHEME = re.compile("hf:/+")
_REPOSITORY = re.compile(r"(?:[A-Za-z0-9_](?:[\w.-]*\w)?)/(?:\w(?:[\w.-]*\w)?)", re.ASCII)
_LONGEST_REPOSITORY = 96
_REVISION = re.compile(r"[\w+-][\w.+-]*(?:/[\w+-][\w.+-]*)*", re.ASCII)


@dataclass(frozen=True)
class HubAddress:
    """A model repository, and which of its revisions.

    Attributes:
        repository: user or organisation, a slash, and a name.
        revision: branch, tag or commit; the branch main when None.
    """

    repository: str
    revision: str | None = None

    @classmethod
    def parse(cls, text: str) -> "HubAddress":
        """Read ``hf://user/name``, ``user/name``, or either with ``@revision``.

        Raises:
            UsageError: neither of these.
        """
        repository, at, revision = _SCHEME.sub("", text, count=1).partition("@")
        is_name = _REPOSITORY.fullmatch(repository) and len(repository) <= _LONGEST_REPOSITORY
        if not is_name or ".." in repository or "--" in repository or repository.endswith(".git"):
            raise UsageError(
                f"{text}: no name of a repository on the hub: it is hf://USER/NAME, of letters, "
                "digits, '-', '_' and '.'."
            )
        if at and (".." in revision or not _REVISION.fullmatch(revision)):
            raise UsageError(
                f"{text}: {revision!r} is no revision: name a branch, a tag or a commit after '@'."
            )
        return cls(repository, revision or None)

    def __str__(self) -> str:
        return f"hf://{self.repository}" + (f"@{self.revision}" if self.revision else "")


def is_hub_address(place: Any) -> bool:
    """Whether a bundle's place is on the hub: a string that begins with ``hf://``, or a path made
    of one."""
    return isinstance(place, (str, PathLike)) and bool(_SCHEME.match(str(fspath(place))))
