from pathlib import Path

import pytest

from muqrt.errors import MissingDependencyError, UsageError
from muqrt.training.synth.instrument import INSTRUMENTS, KITS, Palette
from muqrt.training.synth.studio import fonts as module
from muqrt.training.synth.studio.fonts import FONTS, Font, find_fonts


def test_every_font_has_a_package_and_a_licence() -> None:
    assert {font.split for font in FONTS.values()} == {"train", "test"}
    for font in FONTS.values():
        assert font.package and font.licence and font.weight > 0


def test_another_font_is_refused() -> None:
    with pytest.raises(UsageError, match=r"mine\.sf2: recipe studio knows no such soundfont"):
        find_fonts([Path("mine.sf2")])


def test_chosen_fonts_have_to_be_of_both_splits() -> None:
    with pytest.raises(UsageError, match=r"split test; add one of sf_GMbank\.sf2"):
        find_fonts([Path("TimGM6mb.sf2")])


def test_missing_fonts_are_named_with_their_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        module, "FONTS", {"x": Font(Path("/nowhere/x.sf2"), "x-soundfont", "MIT", "train", 1.0)}
    )
    with pytest.raises(MissingDependencyError, match="apt-get install x-soundfont"):
        find_fonts()


def test_a_held_out_font_plays_tests_alone() -> None:
    palette = Palette(3, lambda preset: True, [False, True, False], [1.0, 1.0, 3.0])
    for name in INSTRUMENTS | KITS:
        assert {preset.soundfont for preset in palette.presets(name, True)} == {1}
        assert {preset.soundfont for preset in palette.presets(name, False)} == {0, 2}
    chosen = [palette.preset("piano", False, (i + 0.5) / 400).soundfont for i in range(400)]
    assert chosen.count(2) == 300
    program = palette.program(0, 30, True, 0.9)
    assert program is not None and program.soundfont == 1


def test_a_program_that_no_font_has_is_none() -> None:
    palette = Palette(2, lambda preset: preset.program != 120, [False, True])
    assert palette.program(0, 120, False, 0.5) is None
