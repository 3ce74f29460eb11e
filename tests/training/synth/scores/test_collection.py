import re
import zipfile
from pathlib import Path

import pytest

pytest.importorskip("music21")
pytest.importorskip("mido")

from muqrt.training.synth.instrument import INSTRUMENTS
from muqrt.training.synth.scores.collection import (
    COLLECTIONS,
    Piece,
    UnreadableScoreError,
    pieces,
    score,
    sources,
)
from muqrt.training.synth.studio.fonts import FONTS
from muqrt.training.synth.styles.style import STYLES

# What a file that may not be used freely says of itself.
CLAIM = re.compile(
    r"©|&#169;|\(c\) ?[12]\d{3}|copyright|rights reserved|licen[cs]e|creative commons|"
    r"non-?commercial|edizioni",
    re.IGNORECASE,
)
FREE = re.compile(r"Public Domain \(Encoding[^)]*CC0\)", re.IGNORECASE)


def text_of(path: Path) -> str:
    if path.suffix != ".mxl":
        return path.read_text(encoding="utf-8", errors="replace")
    with zipfile.ZipFile(path) as archive:
        names = [name for name in archive.namelist() if not name.startswith("META-INF")]
        return "\n".join(archive.read(name).decode("utf-8", "replace") for name in names)


def test_every_collection_says_why_it_may_be_used() -> None:
    for collection in COLLECTIONS.values():
        assert collection.licence.startswith(("public domain", "BSD", "Zlib"))
        assert collection.work and collection.package
        assert collection.genre is None or collection.genre in {*STYLES, "folk"}
        for ensemble in collection.ensembles:
            assert ensemble == ("voice",) or set(ensemble) <= set(INSTRUMENTS)
        assert collection.ensembles or collection.source != "music21"


@pytest.mark.parametrize(
    "name",
    [
        "romantics",
        *(
            pytest.param(name, marks=pytest.mark.full)
            for name, collection in COLLECTIONS.items()
            if collection.source == "music21" and name != "romantics"
        ),
    ],
)
def test_no_score_of_music21_carries_a_claim(name: str) -> None:
    files = {piece.file for piece in pieces(name)}
    assert files
    claims = [file for file in files if CLAIM.search(FREE.sub("", text_of(Path(file))))]
    assert claims == []


def test_a_work_is_in_one_split() -> None:
    found = [piece for name in COLLECTIONS for piece in pieces(name)]
    assert len({piece.name for piece in found}) == len(found)
    split_of = {piece.work: piece.split for piece in found}
    assert all(split_of[piece.work] == piece.split for piece in found)
    assert {piece.split for piece in pieces("oneill")} == {"train", "valid", "test"}
    assert not any(piece.name.startswith("/") for piece in found)


def test_a_chorale_is_read() -> None:
    piece = next(piece for piece in pieces("bach") if "bwv66.6" in piece.name)
    found = score(piece)
    assert len(found.parts) == 4
    assert (found.bar, found.beats) == (4, 4)
    assert found.notes[0].start == 0
    assert all(40 <= note.key <= 81 and note.quarters > 0 for note in found.notes)


def test_a_tune_of_a_book_has_its_key() -> None:
    by_part = {piece.part: piece for piece in pieces("oneill") if "0001-0050" in piece.name}
    assert score(by_part["1"]).key == (2, "major")
    assert score(by_part["2"]).key == (7, "minor")


def test_an_unreadable_piece_is_named(tmp_path: Path) -> None:
    (tmp_path / "x.mid").write_bytes(b"MThd")
    with pytest.raises(UnreadableScoreError, match=r"x\.mid"):
        score(Piece("dink", str(tmp_path / "x.mid"), "x.mid", "x.mid"))


def test_the_sources_are_named_for_the_settings() -> None:
    assert sources()["bach"].startswith("music21 ")


def test_the_page_lists_every_source() -> None:
    page = (Path(__file__).parents[4] / "docs" / "studio.md").read_text(encoding="utf-8")
    for name, collection in COLLECTIONS.items():
        row = f"| {name} | {collection.work} | {collection.licence} | {collection.package} |"
        assert row in page
    for font in FONTS.values():
        plays = "test items" if font.held_out else "training and validation"
        assert f"| {font.path.name} | {plays} | {font.licence} | {font.package} |" in page
