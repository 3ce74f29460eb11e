"""Music on disk and what is known of it: a folder of audio, or a JSONL manifest with labels."""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    FiniteFloat,
    PositiveFloat,
    ValidationError,
)

from ...common.files import atomic_file, sha256
from ...common.validation import first_problem
from ...errors import AudioError

AUDIO_SUFFIXES = {".aif", ".aiff", ".flac", ".mp3", ".oga", ".ogg", ".opus", ".wav"}
# A line of labels is short; a longer one is another kind of file.
_LINE_LIMIT_CHARACTERS = 1 << 20

Split = Literal["train", "valid", "test"]


def _ordered(section: tuple[float, float, str]) -> tuple[float, float, str]:
    if not 0 <= section[0] < section[1]:
        raise ValueError(f"a section from {section[0]} to {section[1]} s")
    return section


Section = Annotated[tuple[FiniteFloat, FiniteFloat, str], AfterValidator(_ordered)]


class Recording(BaseModel):
    """One audio file, and every label there is of it. Fields a manifest has beyond these are
    ignored.

    Attributes:
        audio: the file; relative to the manifest when it is read, absolute afterwards.
        song: what must not be in two splits; the file's name where a manifest does not say.
        sections: (start, end) in seconds and label, in order.
        valence, arousal: -1 to 1.
        tags_unknown: tags of which it is not known whether they hold; any other that is not among
            ``tags`` does not.
        pitch: MIDI key.
        captions: texts that describe it, in any language.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    audio: Path
    song: str = ""
    split: Split | None = None
    seconds: PositiveFloat | None = None
    genre: str | None = None
    key: str | None = None
    valence: FiniteFloat | None = None
    arousal: FiniteFloat | None = None
    tags: tuple[str, ...] | None = None
    tags_unknown: tuple[str, ...] | None = None
    sections: Annotated[tuple[Section, ...], Field(min_length=1)] | None = None
    tempo_bpm: PositiveFloat | None = None
    singer: str | None = None
    technique: str | None = None
    instrument: str | None = None
    pitch: Annotated[int, Field(ge=0, le=127)] | None = None
    captions: Annotated[tuple[str, ...], Field(min_length=1)] | None = None


def read_recordings(source: Path) -> list[Recording]:
    """Every recording of a folder (searched whole; its ``manifest.jsonl`` is used when there is
    one) or of a JSONL manifest: one object a line, with ``Recording``'s fields.

    Raises:
        AudioError: nothing there, or a line that is no recording; the message names it.
    """
    if source.is_dir() and (source / "manifest.jsonl").is_file():
        source = source / "manifest.jsonl"
    if source.is_dir():
        paths = sorted(p for p in source.rglob("*") if p.suffix.lower() in AUDIO_SUFFIXES)
        found = [Recording(audio=path.absolute(), song=str(path)) for path in paths]
    elif source.is_file():
        found = list(_lines(source))
    else:
        raise AudioError(f"{source}: no such folder or manifest.")
    if not found:
        raise AudioError(f"{source}: no audio there; give a folder of audio or a JSONL manifest.")
    return found


def write_recordings(recordings: Iterable[Recording], manifest: Path) -> None:
    """Write a JSONL manifest, with audio relative to it where it lies below."""
    folder = manifest.absolute().parent
    with atomic_file(manifest) as temporary, temporary.open("w", encoding="utf-8") as file:
        for recording in recordings:
            row = recording.model_dump(mode="json", exclude_none=True)
            audio = recording.audio.absolute()
            row["audio"] = str(audio.relative_to(folder) if folder in audio.parents else audio)
            file.write(json.dumps(row) + "\n")


def check_splits(recordings: list[Recording]) -> None:
    """Raise AudioError when a song, or the same bytes under two names, is in two splits."""
    split_of: dict[str, tuple[Split, Recording]] = {}
    by_size: dict[int, list[Recording]] = {}
    for recording in recordings:
        if recording.split is None:
            continue
        _check_split(split_of, recording.song, recording)
        if recording.audio.is_file():
            by_size.setdefault(recording.audio.stat().st_size, []).append(recording)
    for alike in by_size.values():
        if len({each.split for each in alike}) > 1:  # hashing all of a large corpus takes minutes
            for recording in alike:
                _check_split(split_of, sha256(recording.audio), recording)


def _check_split(
    split_of: dict[str, tuple[Split, Recording]], identity: str, recording: Recording
) -> None:
    assert recording.split is not None
    split, first = split_of.setdefault(identity, (recording.split, recording))
    if split != recording.split:
        raise AudioError(
            f"the splits leak: {first.audio} is in {split} and {recording.audio}, the same "
            f"{'song' if first.song == recording.song else 'audio'}, in {recording.split}. "
            "Put them into one split."
        )


def _lines(manifest: Path) -> Iterator[Recording]:
    folder = manifest.absolute().parent
    with manifest.open(encoding="utf-8", errors="replace") as file:
        for number, line in enumerate(iter(lambda: file.readline(_LINE_LIMIT_CHARACTERS), ""), 1):
            if not line.strip():
                continue
            try:
                document = json.loads(line)
                recording = Recording.model_validate(document)
            except (ValueError, RecursionError) as error:
                what = first_problem(error) if isinstance(error, ValidationError) else error
                raise AudioError(
                    f"{manifest}, line {number}: no recording ({what}). Every line is an object "
                    'with "audio", and labels.'
                ) from None
            path = folder / recording.audio
            song = recording.song or str(path)
            yield recording.model_copy(update={"audio": path, "song": song})
