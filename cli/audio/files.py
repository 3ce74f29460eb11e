"""Which audio files a command was given."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ...common.console import note
from ...errors import AudioError, UsageError
from ...runtime.audio.folder import scan_folder
from ...runtime.audio.suffixes import decodable_suffixes, suffixes_of_av

# A path joins the slashes of an address.
_ADDRESS = re.compile(r"([a-z][a-z0-9+.-]+):/+(.*)", re.IGNORECASE)
_NAMES_SHOWN = 3


@dataclass
class AudioFiles:
    """Audio files, each with the relative path that its result takes in a folder.

    Attributes:
        files: (path, path relative to the folder it was found in).
        skipped: files of folders that cannot be decoded here.
    """

    files: list[tuple[Path, Path]] = field(default_factory=list)
    skipped: list[Path] = field(default_factory=list)

    def __iter__(self) -> Iterator[tuple[Path, Path]]:
        return iter(self.files)

    def __len__(self) -> int:
        return len(self.files)


def audio_files(paths: Sequence[Path]) -> AudioFiles:
    """Every audio file among paths of files and folders; says on stderr what it skipped.

    Raises:
        UsageError: an address. AudioError: a folder without audio files.
    """
    found = AudioFiles()
    for path in paths:
        _refuse_address(path)
        if not path.is_dir():
            found.files.append((path, Path(path.name)))
            continue
        contents = scan_folder(path)
        skipped = _skipped_line(contents.skipped)
        if not contents.audio:
            raise AudioError(
                f"{path}: no audio files in this folder{f': {skipped}' if skipped else '.'}"
            )
        if skipped:
            note(f"{path}: {skipped}")
        found.files += [(file, file.relative_to(path)) for file in contents.audio]
        found.skipped += contents.skipped
    return found


def is_audio_name(word: str) -> bool:
    """Whether a word of a command line names an audio file: an existing file, or by its suffix."""
    if Path(word).suffix.lower() in decodable_suffixes() | suffixes_of_av():
        return True
    try:
        return Path(word).is_file()
    except OSError:  # too long for a name
        return False


def _refuse_address(path: Path) -> None:
    match = _ADDRESS.fullmatch(str(path))
    if match is not None and not path.exists():
        address = f"{match[1]}://{match[2]}"
        how = "Download it first"
        if match[1].lower() in ("http", "https"):
            how += f", or tag it while it plays: muqrt stream {address}"
        raise UsageError(f"{address}: an address; this command takes files. {how}.")


def _skipped_line(skipped: Sequence[Path]) -> str:
    """A sentence that counts and names what was skipped; empty where nothing was."""
    if not skipped:
        return ""
    names = ", ".join(path.name for path in skipped[:_NAMES_SHOWN])
    more = len(skipped) - _NAMES_SHOWN
    files = "1 file" if len(skipped) == 1 else f"{len(skipped)} files"
    line = f"skipped {files} that cannot be decoded here: {names}"
    line += f" and {more} more." if more > 0 else "."
    missing = {path.suffix.lower() for path in skipped} & (suffixes_of_av() - decodable_suffixes())
    if missing:
        line += f" For {', '.join(sorted(missing))}: pip install 'muqrt[av]'"
    return line
