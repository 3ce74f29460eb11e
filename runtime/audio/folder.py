"""The audio files in a folder as people have it, with all that lies beside them."""

import os
from dataclasses import dataclass, field
from pathlib import Path

from .suffixes import decodable_suffixes

# Folders that systems, servers and muqrt itself keep among the music; their files are no one's.
_SYSTEM_FOLDERS = frozenset(
    {"@eadir", "#recycle", "$recycle.bin", "lost+found", "system volume information", "__macosx"}
    | {".appledouble", ".spotlight-v100", ".trashes", ".fseventsd", ".muqrt-index"}
)
_SYSTEM_FILES = frozenset({"thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r"})
# What belongs to an album and is not its sound, and what muqrt writes.
_OF_COMPANIONS = (
    ".jpg .jpeg .png .gif .bmp .webp .tif .tiff .heic .pdf .cue .log .m3u .m3u8 .pls .xspf .lrc "
    ".txt .nfo .sfv .md5 .ffp .accurip .url .html .htm .xml .ini .db .json .toml .md .csv .npy "
    ".npz .parquet"
)
_COMPANION_SUFFIXES = frozenset(_OF_COMPANIONS.split())


@dataclass(frozen=True)
class FolderContents:
    """A folder's files, with those of its subfolders, in order.

    Attributes:
        audio: files that an installed reader decodes, by their suffixes.
        skipped: files that none does. Cover art, lists, notes and what systems leave behind are in
            neither list.
        unreadable: folders whose files could not be listed.
    """

    audio: list[Path]
    skipped: list[Path]
    unreadable: list[Path] = field(default_factory=list)


def scan_folder(folder: Path) -> FolderContents:
    """Look through a folder and its subfolders; links to folders are not followed."""
    suffixes = decodable_suffixes()
    contents = FolderContents([], [])

    def unreadable(error: OSError) -> None:
        contents.unreadable.append(Path(os.fsdecode(error.filename)))

    for place, folders, names in os.walk(folder, onerror=unreadable):
        folders[:] = [each for each in folders if not _is_system_folder(each)]
        for name in names:
            path = Path(place, name)
            if name.startswith("._"):  # what macOS keeps of a file beside it
                continue
            if path.suffix.lower() in suffixes:
                contents.audio.append(path)
            elif not _is_companion(path):
                contents.skipped.append(path)
    contents.audio.sort()
    contents.skipped.sort()
    return contents


def _is_system_folder(name: str) -> bool:
    return name.lower() in _SYSTEM_FOLDERS or name.startswith(".Trash-")


def _is_companion(path: Path) -> bool:
    name = path.name.lower()
    known = name in _SYSTEM_FILES or path.suffix.lower() in _COMPANION_SUFFIXES
    return known or name.startswith(".")
