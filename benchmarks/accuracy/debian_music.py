"""Free music in Debian's packages, with what its makers say of it: ``debian_music.toml``."""

import re
import shutil
import subprocess
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Annotated, Literal

import numpy as np
import soundfile
from pydantic import BaseModel, ConfigDict, Field

from ...common.config import read_toml
from ...common.console import progress
from ...common.files import atomic_file
from ...errors import AudioError
from ...reference.config import SAMPLE_RATE_HZ
from ...training.data.crops import read_samples, usable_tracks
from ...training.data.manifest import Recording

_LIST = Path(__file__).with_name("debian_music.toml")
_SUM = " + "  # between the stems of a track
_LOUDEST = 0.99  # of a sum


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Fact(_Strict):
    """Tags that hold, and tags that do not."""

    holds: list[str]
    excludes: list[str]


class Statement(_Strict):
    """What is said of some tracks, by names of facts, and where."""

    tracks: Annotated[list[str], Field(min_length=1)]
    facts: Annotated[list[str], Field(min_length=1)]
    source: str


class Package(_Strict):
    """A Debian package: where its music is, in the folder or in a zip archive, and what is said."""

    name: str
    version: str
    split: Literal["valid", "test"]
    folder: str
    archive: str | None = None
    says: list[Statement]

    @property
    def file(self) -> str:
        """The package's file, as apt-get download names it."""
        return f"{self.name}_{self.version.replace(':', '%3a')}_all.deb"

    @property
    def tracks(self) -> list[str]:
        """Every track once, in order."""
        return list(dict.fromkeys(track for each in self.says for track in each.tracks))


class MusicList(_Strict):
    """The whole list: the tags that are asked about, the facts, the packages."""

    words: list[str]
    facts: dict[str, Fact]
    packages: list[Package]


def music_list() -> MusicList:
    """The list that comes with muqrt."""
    return MusicList.model_validate(read_toml(_LIST))


def read_debian_music(home: Path) -> Iterator[Recording]:
    """Unpack the tracks of every package below ``home``; packages that are not there are fetched
    with ``apt-get download``.

    Raises:
        AudioError: a package is missing and cannot be fetched, is damaged or lacks a track.
    """
    listed = music_list()
    with progress("Unpacking", len(listed.packages)) as bar:
        for package in listed.packages:
            folder = home / package.name
            missing = [file for file in _files(package) if not (folder / file).is_file()]
            if missing:
                _unpack(_fetched(package, home), package, missing, folder)
            for track in package.tracks:
                yield _recording(listed, package, track, _track_file(folder, track))
            bar.advance(package.name)


def _recording(listed: MusicList, package: Package, track: str, audio: Path) -> Recording:
    names = [name for each in package.says if track in each.tracks for name in each.facts]
    facts = [listed.facts[name] for name in names]
    holds = {tag for fact in facts for tag in fact.holds}
    known = holds.union(*(fact.excludes for fact in facts))
    return Recording(
        audio=audio.absolute(),
        song=f"{package.name}/{track.split('/')[0]}",
        split=package.split,
        tags=tuple(sorted(holds)),
        tags_unknown=tuple(word for word in listed.words if word not in known),
    )


def _files(package: Package) -> list[str]:
    return list(dict.fromkeys(file for track in package.tracks for file in track.split(_SUM)))


def _fetched(package: Package, home: Path) -> Path:
    """The package's file, downloaded if it is not there."""
    path = home / package.file
    if not path.is_file() and shutil.which("apt-get") is not None:
        home.mkdir(parents=True, exist_ok=True)
        wanted = f"{package.name}={package.version}"
        subprocess.run(["apt-get", "download", "-qq", wanted], cwd=home, check=False)
    if not path.is_file():
        raise AudioError(
            f"{path}: missing, and apt-get cannot download it here. Get it from a Debian mirror "
            "(bookworm) or from snapshot.debian.org."
        )
    return path


def _unpack(deb: Path, package: Package, files: list[str], folder: Path) -> None:
    """Write files of a package, each whole or not at all."""
    if shutil.which("dpkg-deb") is None:
        raise AudioError(f"{deb}: dpkg-deb, which unpacks it, is not installed.")
    wanted = {f"{package.folder}/{file}": file for file in files}
    with subprocess.Popen(["dpkg-deb", "--fsys-tarfile", deb], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        try:
            with tarfile.open(fileobj=process.stdout, mode="r|") as members:
                for member in members:
                    name = member.name.removeprefix("./")
                    inside = members.extractfile(member) if member.isfile() else None
                    if inside is None:
                        continue
                    if name == package.archive:
                        _unzip(inside, wanted, folder)
                    elif name in wanted:
                        _write(inside, folder / wanted.pop(name))
        except (tarfile.TarError, zipfile.BadZipFile):
            raise AudioError(f"{deb}: damaged; remove it, and get it again.") from None
    if wanted:
        raise AudioError(f"{deb}: no {next(iter(wanted))} in it; another version's package?")


def _unzip(archive: IO[bytes], wanted: dict[str, str], folder: Path) -> None:
    with tempfile.TemporaryFile() as whole:
        shutil.copyfileobj(archive, whole)
        with zipfile.ZipFile(whole) as members:
            for name in set(wanted) & set(members.namelist()):
                with members.open(name) as inside:
                    _write(inside, folder / wanted.pop(name))


def _write(source: IO[bytes], path: Path) -> None:
    with atomic_file(path) as temporary, temporary.open("wb") as file:
        shutil.copyfileobj(source, file)


def _track_file(folder: Path, track: str) -> Path:
    """The track's file; stems are added up first."""
    if _SUM not in track:
        return folder / track
    stems = [folder / name for name in track.split(_SUM)]
    path = stems[0].with_name(f"{re.sub('[^a-z0-9]+', '-', track.lower())}.flac")
    if not path.is_file():
        found, skipped = usable_tracks([Recording(audio=each) for each in stems], 1.0)
        if skipped:
            raise AudioError(skipped[0].reason)
        lengths = [int(each.seconds * SAMPLE_RATE_HZ) for each in found]
        mixed = np.zeros(max(lengths), np.float32)
        for stem, samples in zip(found, lengths, strict=True):
            mixed[:samples] += read_samples(stem.path, 0, samples)[:samples]
        mixed *= _LOUDEST / max(_LOUDEST, float(np.abs(mixed).max()))
        with atomic_file(path) as temporary:
            soundfile.write(temporary, mixed, SAMPLE_RATE_HZ, format="FLAC")
    return path
