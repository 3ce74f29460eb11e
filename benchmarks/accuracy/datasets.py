"""Read published datasets from their own files, as recordings with labels and splits."""

import csv
import hashlib
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from ...common.documents import read_json
from ...errors import AudioError, MissingDependencyError, UsageError
from ...training.data.manifest import AUDIO_SUFFIXES, Recording, Split
from .debian_music import read_debian_music

# Where a dataset publishes no splits.
_SHARES: tuple[tuple[Split, float], ...] = (("test", 0.2), ("valid", 0.1))
_KEY = re.compile("[A-G][#b]? (major|minor)")
# NSynth's largest examples.json has 289,205 notes of about 20 values.
_NOTES_BYTES, _NOTES_VALUES = 512 << 20, 20_000_000
_MTT_TAGS = 50  # the most frequent ones, as everyone does
# Wilkins et al. 2018, section 4: who sings in VocalSet's test set, and which techniques count.
_VOCALSET_TEST = {"female2", "female8", "male3", "male5", "male10"}
_VOCALSET_TECHNIQUES = {"belt", "breathy", "inhaled", "lip_trill", "spoken", "straight", "trill"}
_VOCALSET_TECHNIQUES |= {"trillo", "vibrato", "vocal_fry"}
# Wang et al. 2022 (arXiv 2205.14700): seven functions. The first with a word in a section's name
# decides; riffs and the like, which have none, are instrumental.
_FUNCTIONS = {
    "silence": ("silence",),
    "verse": ("pre-chorus", "prechorus", "verse", "rap", "section", "slow", "build", "dialog"),
    "chorus": ("refrain", "chorus", "theme", "stutter"),
    "intro": ("intro", "fadein", "opening"),
    "bridge": ("bridge", "trans"),
    "outro": ("outro", "out", "coda", "ending"),
}


@dataclass(frozen=True)
class Dataset:
    """How to read one dataset.

    Attributes:
        read: turns its folder into recordings; those without a split get one by their song.
        layout: what the folder must contain.
    """

    read: Callable[[Path], Iterable[Recording]]
    layout: str


def read_dataset(name: str, home: Path, splits: Path | None = None) -> list[Recording]:
    """A dataset's recordings, with its own splits or, where it has none, seeded ones by song.

    Args:
        name: a key of ``DATASETS``.
        home: the folder it was unpacked to.
        splits: a folder with train*.txt, valid*.txt and test*.txt to use instead, each line an
            audio file's path or the end of one; recordings in no list are left out.

    Raises:
        UsageError: no such dataset.
        AudioError: its files are missing, or not as published.
        MissingDependencyError: mirdata is needed and not installed.
    """
    if name not in DATASETS:
        raise UsageError(f"dataset {name!r}: choose among {', '.join(DATASETS)}.")
    dataset = DATASETS[name]
    try:
        found = list(dataset.read(home))
    except (OSError, LookupError, ValueError, TypeError, AttributeError) as error:
        reason = f"{type(error).__name__}: {error}"
        raise AudioError(f"{home}: not {name} ({reason}). Expected: {dataset.layout}.") from None
    if not found:
        raise AudioError(f"{home}: no recording of {name} there. Expected: {dataset.layout}.")
    return _listed(found, splits) if splits is not None else _seeded(found)


def _seeded(recordings: Sequence[Recording]) -> list[Recording]:
    """Give a split to recordings without one, the same to all of a song."""
    songs = sorted({each.song for each in recordings if each.split is None}, key=_digest)
    split_of: dict[str, Split] = {}
    for split, share in _SHARES:
        count = round(share * len(songs))
        split_of.update(dict.fromkeys(songs[:count], split))
        songs = songs[count:]
    return [
        each
        if each.split is not None
        else each.model_copy(update={"split": split_of.get(each.song, "train")})
        for each in recordings
    ]


def _listed(recordings: Sequence[Recording], folder: Path) -> list[Recording]:
    by_end = {end: each for each in recordings for end in _ends(each.audio)}
    found = []
    for split in ("train", "valid", "test"):
        lists = sorted(folder.glob(f"{split}*.txt"))
        if not lists:
            raise AudioError(f"{folder}: no {split}*.txt there; write one, a file a line.")
        for line in "\n".join(path.read_text("utf-8") for path in lists).split("\n"):
            if not line.strip():
                continue
            recording = by_end.get(Path(line.strip()).with_suffix("").as_posix())
            if recording is None:
                raise AudioError(f"{lists[0]}: {line.strip()} is not in the dataset.")
            found.append(recording.model_copy(update={"split": split}))
    return found


def _ends(path: Path) -> Iterator[str]:
    parts = path.with_suffix("").parts
    return ("/".join(parts[first:]) for first in range(1, len(parts)))


def _digest(song: str) -> str:
    return hashlib.sha256(song.encode("utf-8", "surrogateescape")).hexdigest()


def _mirdata(name: str, labels: Callable[[Any], dict[str, Any]]) -> Dataset:
    """A dataset read by mirdata; recordings without labels are left out."""

    def read(home: Path) -> Iterator[Recording]:
        try:
            import mirdata
        except ImportError:
            raise MissingDependencyError(
                f"{name} is read by mirdata. Run: pip install mirdata"
            ) from None
        for track_id, track in mirdata.initialize(name, data_home=str(home)).load_tracks().items():
            if found := labels(track):
                yield Recording(audio=Path(track.audio_path), song=track_id, **found)

    fetch = f"mirdata.initialize({name!r}, data_home=HOME).download()"
    return Dataset(read, f"what {fetch} leaves, its index included")


def _key(track: Any) -> dict[str, Any]:
    key = (track.key or "").strip()
    return {"key": key} if _KEY.fullmatch(key) else {}


def _emo(home: Path) -> Iterator[Recording]:
    clips = _audio_by_stem(home)
    info = {row["song_id"]: row for row in _rows(_file(home, "songs_info.csv"))}
    for row in _rows(_file(home, "static_annotations.csv")):
        song = row["song_id"]
        if song not in clips:
            continue
        evaluation = info[song]["Mediaeval 2013 set"] == "evaluation"
        # 1 to 9 becomes -1 to 1. Without "valid", a tenth of the training songs is held out.
        yield Recording(
            audio=clips[song],
            song=song,
            split="test" if evaluation else "train",
            valence=(float(row["mean_valence"]) - 5) / 4,
            arousal=(float(row["mean_arousal"]) - 5) / 4,
        )


def _vocalset(home: Path) -> Iterator[tuple[str, str, Path]]:
    """Singer, technique and file, from one folder: others hold the same files again."""
    roots = [path for name in ("FULL", "data_by_singer") for path in home.rglob(name)]
    for path in sorted((roots or [home])[0].rglob("*.wav")):
        singer = next((part for part in path.parts if re.fullmatch(r"(fe)?male\d+", part)), None)
        if singer is not None:
            yield singer, path.parent.name, path


def _vocalset_technique(home: Path) -> Iterator[Recording]:
    for singer, technique, path in _vocalset(home):
        if technique in _VOCALSET_TECHNIQUES:
            split: Split = "test" if singer in _VOCALSET_TEST else "train"
            yield Recording(audio=path, song=singer, split=split, technique=technique)


def _vocalset_singer(home: Path) -> Iterator[Recording]:
    for singer, _, path in _vocalset(home):
        yield Recording(audio=path, song=path.name, singer=singer)


def _harmonix(home: Path) -> Iterator[Recording]:
    audio = _audio_by_stem(home)
    for path in sorted(home.rglob("segments/*.txt")):
        if path.stem not in audio:  # the music has to be found elsewhere, song by song
            continue
        lines = [line.split(maxsplit=1) for line in path.read_text("utf-8").splitlines() if line]
        sections = tuple(
            (float(start), float(end), _function(label))
            for (start, label), (end, *_) in pairwise(lines)
        )
        yield Recording(audio=audio[path.stem], song=path.stem, sections=sections)


def _function(label: str) -> str:
    functions = (
        function
        for function, words in _FUNCTIONS.items()
        if any(word in label.lower() for word in words)
    )
    return next(functions, "inst")


def _magnatagatune(home: Path) -> Iterator[Recording]:
    annotations = _file(home, "annotations_final.csv")
    rows = list(_rows(annotations, delimiter="\t"))
    names = [name for name in rows[0] if name not in ("clip_id", "mp3_path")]
    counts = {name: sum(row[name] == "1" for row in rows) for name in names}
    chosen = sorted(names, key=lambda name: -counts[name])[:_MTT_TAGS]
    for row in rows:
        path = Path(row["mp3_path"])
        folder = path.parts[0]
        split: Split = "train" if folder <= "b" else "valid" if folder == "c" else "test"
        yield Recording(
            audio=annotations.parent / path,
            song=re.sub(r"-\d+-\d+$", "", path.stem),  # what a clip was cut out of
            split=split,
            tags=tuple(name for name in chosen if row[name] == "1"),
        )


def _nsynth(home: Path) -> Iterator[Recording]:
    splits: tuple[Split, ...] = ("train", "valid", "test")
    for split in splits:
        folder = home / f"nsynth-{split}"
        notes = read_json(folder / "examples.json", _NOTES_BYTES, _NOTES_VALUES)
        for name, note in notes.items():
            yield Recording(
                audio=folder / "audio" / f"{name}.wav",
                song=name,
                split=split,
                instrument=note["instrument_family_str"],
                pitch=note["pitch"],
            )


def _audio_by_stem(home: Path) -> dict[str, Path]:
    return {path.stem: path for path in home.rglob("*") if path.suffix.lower() in AUDIO_SUFFIXES}


def _file(home: Path, name: str) -> Path:
    found = sorted(home.rglob(name))
    if not found:
        raise FileNotFoundError(f"no {name}")
    return found[0]


def _rows(path: Path, delimiter: str = ",") -> Iterator[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        yield from csv.DictReader(file, delimiter=delimiter)


DATASETS = {
    "gtzan_genre": _mirdata("gtzan_genre", lambda track: {"genre": track.genre}),
    "giantsteps_key": _mirdata("giantsteps_key", _key),
    "emo": Dataset(_emo, "songs_info.csv, static_annotations.csv and the clips as ID.mp3"),
    "vocalset_singer": Dataset(_vocalset_singer, "FULL/SINGER/CONTEXT/TECHNIQUE/*.wav"),
    "vocalset_technique": Dataset(_vocalset_technique, "FULL/SINGER/CONTEXT/TECHNIQUE/*.wav"),
    "harmonix": Dataset(_harmonix, "dataset/segments/NAME.txt, and music called NAME beside it"),
    "magnatagatune": Dataset(_magnatagatune, "annotations_final.csv beside the folders 0 to f"),
    "debian_music": Dataset(read_debian_music, "packages that apt-get download has fetched"),
    "nsynth": Dataset(_nsynth, "nsynth-train, -valid and -test: examples.json and audio/"),
}
